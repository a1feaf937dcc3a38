"""Plans of ablations: valid plans, and the errors of invalid ones."""

from pathlib import Path

import pytest

from diptych_training.errors import TrainingConfigError
from diptych_training.study.ablate_command import open_variant
from diptych_training.study.plan import ABLATIONS, plans_in, read_ablation_plan

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


@pytest.mark.parametrize("name", plans_in(ABLATIONS))
def test_teachers_of_a_shipped_plan_are_trained_before_their_students(name: str, tmp_path: Path):
    plan = read_ablation_plan(name)
    trained: list[str] = []
    for variant in plan.variants:
        config = open_variant(plan, variant, tmp_path, tmp_path)[0]
        assert config.distill is None or set(config.distill.teachers) <= set(trained)
        trained.append(plan.run_name(variant))
    assert name != "pictograms" or f"{plan.name}-distill" in trained


def test_the_base_comes_first_whether_it_is_listed_or_not(tmp_path: Path):
    plan = read_ablation_plan(written(tmp_path, VARIANT.format("fast")))
    assert [variant.name for variant in plan.variants] == ["base", "fast"]
    plan = read_ablation_plan(written(tmp_path, VARIANT.format("fast"), VARIANT.format("base")))
    assert [(variant.name, len(variant.changes)) for variant in plan.variants] == [("base", 1), ("fast", 1)]


def test_a_recipe_beside_its_plan_is_found_from_anywhere(tmp_path: Path):
    plan = read_ablation_plan(written(tmp_path, VARIANT.format("fast"), head='name = "p"\nbase = "own.toml"'))
    assert plan.base == str(tmp_path / "own.toml")
    assert read_ablation_plan(written(tmp_path, VARIANT.format("fast"))).base == "tiny"


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


def test_a_missing_plan_lists_the_shipped_plans(tmp_path: Path):
    with pytest.raises(TrainingConfigError, match="no such plan; shipped plans: objectives, pictograms"):
        read_ablation_plan(str(tmp_path / "gone.toml"))
