"""Plans of ablations: a recipe and its variants, from TOML."""

import tomllib
from collections import Counter
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from diptych_training.config.explain import explain
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import recipe_file
from diptych_training.schema import Frozen

ABLATIONS = Path(__file__).parent.parent / "configs" / "ablations"
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
    shipped = ABLATIONS / f"{name_or_file}.toml"
    path = shipped if shipped.is_file() else Path(name_or_file)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(
            f"{path}: no such plan; shipped plans: {', '.join(shipped_plans())}"
        ) from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: cannot read the plan: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=Plan)}") from error
    return plan.model_copy(update={"base": _resolve_base(plan.base, path.parent)})


def shipped_plans() -> list[str]:
    """The names of the shipped plans."""
    return sorted(path.stem for path in ABLATIONS.glob("*.toml"))


def _resolve_base(base: str, folder: Path) -> str:
    """Resolve the base: a shipped recipe by name, or a file relative to the plan's folder."""
    is_shipped = recipe_file(base) != Path(base)
    return base if is_shipped else str(folder / Path(base).expanduser())
