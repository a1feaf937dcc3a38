"""What an ablation tries: a recipe and its variants, from TOML; knows nothing of runs."""

import tomllib
from collections import Counter
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from diptych_training.config.explain import explain
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import recipe_file
from diptych_training.schema import Frozen

ABLATIONS = Path(__file__).parent.parent / "configs" / "ablations"
BASE = "base"  # the variant that all others are held against
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class Variant(Frozen):
    """The base with some keys changed: `changes` as `train --set` takes them, `says` in words for a table."""

    name: str = Field(pattern=NAME_PATTERN)
    group: str = Field(min_length=1)
    says: str = Field(min_length=1)
    changes: tuple[str, ...] = Field(default=(), alias="set")


class Plan(Frozen):
    """A recipe, changes that all variants share, and the variants; the first is always `base`.

    Where a plan lists no variant of that name, it is the recipe with the shared changes alone.
    """

    name: str = Field(pattern=NAME_PATTERN)
    base: str  # the name or the file of a recipe, as `train` takes it
    changes: tuple[str, ...] = Field(default=(), alias="set")
    variants: tuple[Variant, ...]

    @field_validator("variants")
    @classmethod
    def _base_first(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        counted = Counter(variant.name for variant in variants)
        twice = [name for name, n in counted.items() if n > 1]
        if twice:
            raise ValueError(f"must have names of their own, and several are called {', '.join(twice)}")
        base = [variant for variant in variants if variant.name == BASE] or [_plain_base()]
        return (*base, *(variant for variant in variants if variant.name != BASE))

    def run_name(self, variant: Variant) -> str:
        """What the run of a variant is called."""
        return f"{self.name}-{variant.name}"

    def overrides(self, variant: Variant) -> tuple[str, ...]:
        """All that the recipe of a variant changes, in the order in which it is applied."""
        return (*self.changes, *variant.changes)


def _plain_base() -> Variant:
    return Variant.model_validate({"name": BASE, "group": BASE, "says": "what all others are held against"})


def read_plan(given: str) -> Plan:
    """A shipped plan of that name, or else a file. Raises TrainingConfigError naming file and key."""
    shipped = ABLATIONS / f"{given}.toml"
    path = shipped if shipped.is_file() else Path(given)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(
            f"{path}: no such plan; shipped ones: {', '.join(shipped_plans())}"
        ) from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: no plan that can be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=Plan)}") from error
    return plan.model_copy(update={"base": _found(plan.base, path.parent)})


def shipped_plans() -> list[str]:
    """Their names."""
    return sorted(path.stem for path in ABLATIONS.glob("*.toml"))


def _found(base: str, folder: Path) -> str:
    """A shipped recipe by its name; a file, from the plan's own folder."""
    is_shipped = recipe_file(base) != Path(base)
    return base if is_shipped else str(folder / Path(base).expanduser())
