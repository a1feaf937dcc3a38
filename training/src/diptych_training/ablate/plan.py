"""Plans of ablations: a recipe and its variants, from TOML."""

from collections import Counter

from pydantic import Field, field_validator

from diptych_training.config.plan_file import plans_in, read_plan_file, recipe_beside
from diptych_training.paths import CONFIGS
from diptych_training.schema import Frozen

ABLATIONS = CONFIGS / "ablations"
BASE = "base"  # the variant that all others are compared with
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class Variant(Frozen):
    """The base with some keys changed: `changes` as for `train --set`; `says` describes them in the table."""

    name: str = Field(pattern=NAME_PATTERN)
    group: str = Field(min_length=1)
    says: str = Field(min_length=1)
    changes: tuple[str, ...] = Field(default=(), alias="set")


class Plan(Frozen):
    """A recipe, changes that all variants share, and the variants; the first is always `base`.

    If a plan lists no variant of that name, `base` is the recipe with the shared changes only.
    """

    name: str = Field(pattern=NAME_PATTERN)
    base: str  # the name or file of a recipe, as for `train`
    changes: tuple[str, ...] = Field(default=(), alias="set")
    variants: tuple[Variant, ...]

    @field_validator("variants")
    @classmethod
    def _base_first(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        counted = Counter(variant.name for variant in variants)
        duplicates = [name for name, n in counted.items() if n > 1]
        if duplicates:
            raise ValueError(f"must have unique names, but several are called {', '.join(duplicates)}")
        base = [variant for variant in variants if variant.name == BASE] or [_plain_base()]
        return (*base, *(variant for variant in variants if variant.name != BASE))

    def run_name(self, variant: Variant) -> str:
        """The name of a variant's run."""
        return f"{self.name}-{variant.name}"

    def overrides(self, variant: Variant) -> tuple[str, ...]:
        """All changes of a variant's recipe, in the order in which they are applied."""
        return (*self.changes, *variant.changes)


def _plain_base() -> Variant:
    return Variant.model_validate(
        {"name": BASE, "group": BASE, "says": "the variant that all others are compared with"}
    )


def read_plan(name_or_file: str) -> Plan:
    """Read a shipped plan of that name, or else a file. Raises TrainingConfigError naming file and key."""
    plan, folder = read_plan_file(name_or_file, ABLATIONS, Plan)
    return plan.model_copy(update={"base": recipe_beside(plan.base, folder)})


def shipped_plans() -> list[str]:
    """The names of the shipped plans."""
    return plans_in(ABLATIONS)
