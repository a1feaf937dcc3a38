"""The plan of a study, from TOML: what each part trains, and how its models are measured."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from diptych_training.config.plan_file import plans_in, read_plan_file, recipe_beside
from diptych_training.paths import CONFIGS
from diptych_training.schema import Frozen

STUDIES = CONFIGS / "studies"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,40}$"
Part = Literal["efficiency", "scaling", "prompts", "labels"]
Seeds = Annotated[tuple[int, ...], Field(min_length=1)]


class Variant(Frozen):
    """One recipe of a part: `changes` as for `train --set`, `title` for the page."""

    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(min_length=1)
    recipe: str | None = None  # instead of the part's
    changes: tuple[str, ...] = Field(default=(), alias="set")


class Training(Frozen):
    """Runs of one part: each variant with each seed. `changes` are those of all variants."""

    recipe: str | None = None
    changes: tuple[str, ...] = Field(default=(), alias="set")
    seeds: Seeds = (0,)
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Training":
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants must have unique names, they are {', '.join(names)}")
        if self.recipe is None and any(variant.recipe is None for variant in self.variants):
            raise ValueError("recipe is missing: name one for all variants, or one in each")
        return self


class Efficiency(Training):
    """Objectives, each measured after several numbers of steps, on a sample of each held-out source.

    The sample of a source has at most so many `names`, and of pictures with these names at most so many
    `pictures`: some objectives take long to score a name.
    """

    checkpoints: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    names: PositiveInt
    pictures: PositiveInt

    @field_validator("checkpoints")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("checkpoints must rise")
        return steps


class Scaling(Training):
    """A series of models, smallest first, measured by `benchmark` with so many `draws` of few examples;
    `predicted` of them are not fitted.
    """

    predicted: PositiveInt = 1
    draws: PositiveInt = 3


class Prompts(Frozen):
    """Bundles that are measured by `benchmark` beside the models of the series."""

    bundles: tuple[str, ...] = ()
    draws: PositiveInt = 3


class Labels(Training):
    """A static softmax and an objective of language, measured on names that the softmax knows, and others."""


class Plan(Frozen):
    """A study. Parts that it leaves out are not run."""

    name: str = Field(pattern=NAME_PATTERN)
    efficiency: Efficiency | None = None
    scaling: Scaling | None = None
    prompts: Prompts | None = None
    labels: Labels | None = None


def read_plan(name_or_file: str) -> Plan:
    """Read a shipped plan of that name, or else a file. Raises TrainingConfigError naming file and key."""
    plan, folder = read_plan_file(name_or_file, STUDIES, Plan)
    found = {
        name: _beside(part, folder)
        for name in ("efficiency", "scaling", "labels")
        if (part := getattr(plan, name)) is not None
    }
    return plan.model_copy(update=found)


def shipped_plans() -> list[str]:
    """The names of the shipped plans."""
    return plans_in(STUDIES)


def _beside(part: Training, folder: Path) -> Training:
    variants = tuple(one.model_copy(update={"recipe": _recipe(one.recipe, folder)}) for one in part.variants)
    return part.model_copy(update={"recipe": _recipe(part.recipe, folder), "variants": variants})


def _recipe(recipe: str | None, folder: Path) -> str | None:
    return None if recipe is None else recipe_beside(recipe, folder)
