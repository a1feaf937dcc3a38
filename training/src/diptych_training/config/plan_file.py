"""Plans of many runs, from TOML: shipped ones by their name, others as files with recipes beside them."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from diptych_training.config.explain import explain
from diptych_training.errors import TrainingConfigError
from diptych_training.paths import recipe_file
from diptych_training.schema import Frozen

Plan = TypeVar("Plan", bound=Frozen)


def read_plan_file(name_or_file: str, shipped: Path, kind: type[Plan]) -> tuple[Plan, Path]:
    """Read the plan of that name in the folder `shipped`, or else a file; return it and its folder.

    Raises TrainingConfigError naming file and key.
    """
    by_name = shipped / f"{name_or_file}.toml"
    path = by_name if by_name.is_file() else Path(name_or_file)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(
            f"{path}: no such plan; shipped plans: {', '.join(plans_in(shipped))}"
        ) from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: cannot read the plan: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    try:
        return kind.model_validate(values), path.parent
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=kind)}") from error


def plans_in(folder: Path) -> list[str]:
    """The names of the plans in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def recipe_beside(recipe: str, folder: Path) -> str:
    """A shipped recipe by its name, or else a file relative to the folder of the plan."""
    is_shipped = recipe_file(recipe) != Path(recipe)
    return recipe if is_shipped else str(folder / Path(recipe).expanduser())
