"""Plans of studies, from TOML to cells."""

from pathlib import Path

import numpy as np
import pytest

from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.objectives.virtex import VirtexConfig
from diptych_training.study.ablate_command import open_variant
from diptych_training.study.cells import cells_of, data_digest
from diptych_training.study.plan import ABLATIONS, STUDIES, plans_in, read_ablation_plan, read_study_plan
from diptych_training.study.samples import sampled
from support.small_study import write_plan
from support.tiny_run import write_tiny_dataset


def test_every_seed_of_every_variant_is_a_cell_at_each_horizon(dataset, tmp_path):
    plan = read_study_plan(str(write_plan(tmp_path, seeds="[0, 3]")))
    cells = [cell for cell in cells_of(plan, dataset) if cell.part == "efficiency"]
    assert [cell.name for cell in cells] == [
        f"{name}-s{seed}-{step:05}"
        for step in (1, 3)
        for seed in (0, 3)
        for name in ("clip", "bag-of-words", "virtex")
    ]
    assert {cell.model.config.run.steps for cell in cells if cell.name.endswith("1")} == {1}  # annealed
    assert [cells[0].model.images, cells[-1].model.images] == [4, 12]


def test_recipe_that_leaves_the_precision_open_is_run_in_fp32_on_every_machine(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    plan = read_study_plan(str(write_plan(tmp_path, ('precision = "fp32"\n', ""))))
    assert {cell.model.config.run.precision for cell in cells_of(plan, dataset)} == {"fp32"}


def test_parts_with_the_same_recipe_share_a_run(dataset, tmp_path):
    cells = cells_of(read_study_plan(str(write_plan(tmp_path))), dataset)
    shared, other = {
        cell.model.name for cell in cells if cell.variant == "clip"
    }  # of three steps, and of one
    assert shared.startswith("study-clip-")
    assert {cell.part for cell in cells if cell.variant == "clip"} == {"efficiency", "labels", "scaling"}
    assert other.startswith("study-clip-")


def test_a_cell_is_known_by_recipe_objective_version_data_and_measure(dataset, tmp_path, monkeypatch):
    def digests(*changes: tuple[str, str]) -> dict[str, str]:
        cells = cells_of(read_study_plan(str(write_plan(tmp_path, *changes))), dataset)
        return {cell.name: cell.digest(data_digest(dataset)) for cell in cells if cell.part == "efficiency"}

    before = digests()
    assert len(set(before.values())) == len(before)
    assert digests(("log_every = 10", "log_every = 3")) == before
    assert digests(("pictures = 5", "pictures = 6")).items().isdisjoint(before.items())
    others = digests(("objective.kind=virtex", "objective.kind=icmlm"))  # the same but for the kind
    assert {name for name in before if before[name] != others[name]} == {"virtex-s0-00001", "virtex-s0-00003"}
    with monkeypatch.context() as patch:
        patch.setattr(VirtexConfig, "version", VirtexConfig.version + 1)
        later = digests()
    assert {name for name in before if before[name] != later[name]} == {"virtex-s0-00001", "virtex-s0-00003"}
    only_one = digests(('"objective.kind=virtex"', '"objective.kind=virtex", "optim.lr=0.1"'))
    assert {name for name in before if before[name] != only_one[name]} == {
        "virtex-s0-00001", "virtex-s0-00003"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("horizons = [1, 3]", "horizons = [3, 1]"), "horizons must rise"),
        (("[scaling]", "[scaling]\npredicted = 4"), "predicted is 4: fewer than the 4 models"),
        (
            ('"model.image.width=48"', '"objective.kind=virtex"'),
            "variant wider of scaling: objective virtex has no text tower",
        ),
        (('name = "virtex"', 'name = "clip"'), "variants must have unique names"),
        (("objective.kind=virtex", "objective.kind=magic"), "variant virtex of efficiency: "),
        (('["objective.kind=static_softmax", "objective.n_labels=6"]', "[]"), "no variant has the objective"),
        (('recipe = "small.toml"', ""), "recipe is missing"),
        (("names = 4", "nouns = 4"), "efficiency.nouns: unknown key"),
    ],
)
def test_a_bad_plan_is_refused_with_the_place(dataset, tmp_path, change, complaint):
    with pytest.raises(TrainingConfigError, match=complaint):
        cells_of(read_study_plan(str(write_plan(tmp_path, change))), dataset)


@pytest.mark.parametrize("name", plans_in(STUDIES))
def test_shipped_plans_can_be_read(name, dataset):
    cells = cells_of(read_study_plan(name), dataset)
    names = [(cell.part, cell.name) for cell in cells]
    assert len(set(names)) == len(names)


VARIANT = '[[variants]]\nname = "{}"\ngroup = "rate"\nsays = "a rate"\nset = ["optim.lr=3e-3"]\n'


def written(folder: Path, *variants: str, head: str = 'name = "p"\nbase = "tiny"') -> str:
    (folder / "plan.toml").write_text("\n".join([head, *variants]))
    return str(folder / "plan.toml")


@pytest.mark.parametrize("name", plans_in(ABLATIONS))
def test_every_variant_of_a_shipped_plan_is_a_recipe_that_differs_from_the_base(name: str, tmp_path: Path):
    plan = read_ablation_plan(name)
    configs = [open_variant(plan, variant, tmp_path, tmp_path)[0] for variant in plan.variants]
    assert [config.name for config in configs] == [f"{plan.name}-{variant.name}" for variant in plan.variants]
    unnamed = [config.model_copy(update={"name": "same"}).model_dump_json() for config in configs]
    assert len(set(unnamed)) == len(unnamed)


def test_the_base_comes_first_whether_it_is_listed_or_not(tmp_path: Path):
    plan = read_ablation_plan(written(tmp_path, VARIANT.format("fast")))
    assert [variant.name for variant in plan.variants] == ["base", "fast"]
    plan = read_ablation_plan(written(tmp_path, VARIANT.format("fast"), VARIANT.format("base")))
    assert [(variant.name, len(variant.changes)) for variant in plan.variants] == [("base", 1), ("fast", 1)]


@pytest.mark.parametrize(
    ("variants", "head", "message"),
    [
        ([VARIANT.format("a"), VARIANT.format("a")], 'name = "p"\nbase = "tiny"', "several are called a"),
        ([VARIANT.format("A b")], 'name = "p"\nbase = "tiny"', 'variants.0.name is "A b"'),
        ([VARIANT.format("a") + "sets = []\n"], 'name = "p"\nbase = "tiny"', "variants.0.sets: unknown key"),
        ([], 'name = "p"\nbase = "tiny"', "variants is missing"),
        (["[[variants]"], "", "not TOML"),
    ],
)
def test_a_mistake_in_a_plan_names_file_and_key(tmp_path: Path, variants: list[str], head: str, message: str):
    with pytest.raises(TrainingConfigError, match=r"plan\.toml: ") as raised:
        read_ablation_plan(written(tmp_path, *variants, head=head))
    assert message in str(raised.value)


@pytest.fixture(scope="module")
def dataset_of_sample(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=40)


def test_a_sample_has_pictures_of_its_names_alone_and_does_not_change(dataset_of_sample):
    source = dataset_of_sample.source("new-set")
    one, again = (sampled(source, 10, 6) for _ in range(2))
    assert (len(one.classes), len(one.images), len(one.accepted)) == (10, 6, 6)
    assert all(labels & set(one.classes) for labels in one.accepted)
    assert one.classes == again.classes
    np.testing.assert_array_equal(one.images, again.images)
    label_of = {image.tobytes(): item.label for image, item in zip(source.images, source.items, strict=True)}
    assert all(
        label_of[image.tobytes()] in labels for image, labels in zip(one.images, one.accepted, strict=True)
    )


def test_a_series_by_width_is_one_recipe_whose_rate_falls_with_the_root_of_the_width(dataset, tmp_path):
    head = '[scaling]\nrecipe = "series/width"\nwidths = [8, 32, 64]\nrepeated = 1\nseeds = [0, 1]\n'
    (tmp_path / "plan.toml").write_text(f'name = "p"\n{head}')
    cells = cells_of(read_study_plan(str(tmp_path / "plan.toml")), dataset)
    assert [cell.name for cell in cells] == ["w8-s0", "w32-s0", "w8-s1", "w64-s0"]  # predicted ones last
    assert [cell.is_predicted for cell in cells] == [False, False, False, True]
    configs = [cell.model.config for cell in cells]
    assert [config.optim.lr for config in configs] == pytest.approx([3e-3, 1.5e-3, 3e-3, 1.06e-3], rel=1e-2)
    assert configs[1].model.image.planes == (32, 64, 128, 192)
    assert {config.run.steps * config.run.batch_size for config in configs} == {1_280_000}
