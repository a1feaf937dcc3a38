"""Plans of studies, from TOML to cells."""

from pathlib import Path

import pytest

from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.study.cells import cells_of, data_digest
from diptych_training.study.plan import STUDIES, plans_in, read_study_plan
from support.small_study import write_plan
from support.tiny_run import write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


def test_every_seed_of_every_variant_is_a_cell_at_each_checkpoint(dataset, tmp_path):
    plan = read_study_plan(str(write_plan(tmp_path, seeds="[0, 3]")))
    cells = [cell for cell in cells_of(plan, dataset) if cell.part == "efficiency"]
    assert [cell.name for cell in cells] == [
        f"{name}-s{seed}-{step:05}"
        for seed in (0, 3)
        for name in ("clip", "bag-of-words", "virtex")
        for step in (1, 3)
    ]
    assert [cell.images for cell in cells[:2]] == [4, 12]


def test_parts_with_the_same_recipe_share_a_run(dataset, tmp_path):
    cells = cells_of(read_study_plan(str(write_plan(tmp_path))), dataset)
    (shared,) = {cell.model.name for cell in cells if cell.variant == "clip"}
    assert shared.startswith("study-clip-")
    assert {cell.part for cell in cells if cell.variant == "clip"} == {"efficiency", "labels", "scaling"}


def test_a_cell_is_known_by_recipe_step_data_and_measure(dataset, tmp_path):
    def digests(*changes: tuple[str, str]) -> dict[str, str]:
        cells = cells_of(read_study_plan(str(write_plan(tmp_path, *changes))), dataset)
        return {cell.name: cell.digest(data_digest(dataset)) for cell in cells if cell.part == "efficiency"}

    before = digests()
    assert len(set(before.values())) == len(before)
    assert digests(("log_every = 10", "log_every = 3")) == before
    assert digests(("pictures = 5", "pictures = 6")).items().isdisjoint(before.items())
    others = digests(("objective.kind=virtex", "objective.kind=icmlm"))  # the same but for the kind
    assert {name for name in before if before[name] != others[name]} == {"virtex-s0-00001", "virtex-s0-00003"}
    only_one = digests(('"objective.kind=virtex"', '"objective.kind=virtex", "optim.lr=0.1"'))
    assert {name for name in before if before[name] != only_one[name]} == {
        "virtex-s0-00001", "virtex-s0-00003"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("checkpoints = [1, 3]", "checkpoints = [3, 1]"), "checkpoints must rise"),
        (("checkpoints = [1, 3]", "checkpoints = [1, 4]"), "checkpoints go up to step 4, but clip has 3"),
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


def test_a_plan_that_is_not_there_names_the_shipped_ones(tmp_path: Path):
    with pytest.raises(TrainingConfigError, match=f"shipped plans: {', '.join(plans_in(STUDIES))}"):
        read_study_plan(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", plans_in(STUDIES))
def test_shipped_plans_can_be_read(name, dataset):
    cells = cells_of(read_study_plan(name), dataset)
    names = [(cell.part, cell.name) for cell in cells]
    assert len(set(names)) == len(names)
