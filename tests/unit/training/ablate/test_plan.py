"""Plans of ablations: valid plans, and the errors of invalid ones."""

import argparse
from pathlib import Path

import pytest

from diptych_training.ablate.command import recipe_arguments
from diptych_training.ablate.plan import read_plan, shipped_plans
from diptych_training.errors import TrainingConfigError
from diptych_training.train.command import recipe_and_source_model

VARIANT = '[[variants]]\nname = "{}"\ngroup = "rate"\nsays = "a rate"\nset = ["optim.lr=3e-3"]\n'


def written(folder: Path, *variants: str, head: str = 'name = "p"\nbase = "tiny"') -> str:
    (folder / "plan.toml").write_text("\n".join([head, *variants]))
    return str(folder / "plan.toml")


@pytest.mark.parametrize("name", shipped_plans())
def test_every_variant_of_a_shipped_plan_is_a_recipe_that_differs_from_the_base(name: str, tmp_path: Path):
    plan = read_plan(name)
    args = argparse.Namespace(runs_dir=tmp_path, data=tmp_path, model_repo=tmp_path, device="cpu")
    configs = [recipe_and_source_model(recipe_arguments(plan, variant, args))[0] for variant in plan.variants]
    assert [config.name for config in configs] == [f"{plan.name}-{variant.name}" for variant in plan.variants]
    unnamed = [config.model_copy(update={"name": "same"}).model_dump_json() for config in configs]
    assert len(set(unnamed)) == len(unnamed)


@pytest.mark.parametrize("name", shipped_plans())
def test_teachers_of_a_shipped_plan_are_trained_before_their_students(name: str, tmp_path: Path):
    plan = read_plan(name)
    args = argparse.Namespace(runs_dir=tmp_path, data=tmp_path, model_repo=tmp_path, device="cpu")
    trained: list[str] = []
    for variant in plan.variants:
        config = recipe_and_source_model(recipe_arguments(plan, variant, args))[0]
        assert config.distill is None or set(config.distill.teachers) <= set(trained)
        trained.append(plan.run_name(variant))
    assert name != "pictograms" or f"{plan.name}-distill" in trained


def test_the_base_comes_first_whether_it_is_listed_or_not(tmp_path: Path):
    plan = read_plan(written(tmp_path, VARIANT.format("fast")))
    assert [variant.name for variant in plan.variants] == ["base", "fast"]
    plan = read_plan(written(tmp_path, VARIANT.format("fast"), VARIANT.format("base")))
    assert [(variant.name, len(variant.changes)) for variant in plan.variants] == [("base", 1), ("fast", 1)]


def test_a_recipe_beside_its_plan_is_found_from_anywhere(tmp_path: Path):
    plan = read_plan(written(tmp_path, VARIANT.format("fast"), head='name = "p"\nbase = "own.toml"'))
    assert plan.base == str(tmp_path / "own.toml")
    assert read_plan(written(tmp_path, VARIANT.format("fast"))).base == "tiny"


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
        read_plan(written(tmp_path, *variants, head=head))
    assert message in str(raised.value)


def test_a_missing_plan_lists_the_shipped_plans(tmp_path: Path):
    with pytest.raises(TrainingConfigError, match="no such plan; shipped plans: objectives, pictograms"):
        read_plan(str(tmp_path / "gone.toml"))
