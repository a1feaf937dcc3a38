"""Results of cells as small JSON files, `PLAN/PART/CELL.json`."""

from pathlib import Path

from pydantic import ValidationError

from diptych_training.files import write_text
from diptych_training.schema import Frozen
from diptych_training.study.cells.plan import Part

Scores = dict[str, dict[str, float]]  # data set -> figure -> value


class Result(Frozen):
    """One measured model. `digest` is of everything that decides it: recipe, step, data, how it is measured.

    `images` and `flops` were spent on its training up to here, `images_per_s` is the speed of the last part
    of it; of a bundle they are unknown. `measured_s` are the seconds that measuring took.
    """

    part: Part
    cell: str
    variant: str
    digest: str
    recipe: str  # a digest of the whole recipe, or the name of a bundle
    data: str  # a digest of what was learned from and measured on
    seed: int | None = None
    images: int | None = None
    flops: float | None = None
    images_per_s: float | None = None
    measured_s: float
    scores: Scores


def result_file(folder: Path, part: str, cell: str) -> Path:
    """The file of one result."""
    return folder / part / f"{cell}.json"


def read_result(file: Path) -> Result | None:
    """The stored result; None if there is none, or one of another form."""
    try:
        return Result.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_result(file: Path, result: Result) -> None:
    """Write a result atomically."""
    write_text(file, result.model_dump_json(indent=1, exclude_none=True) + "\n")


def all_results(folder: Path) -> list[Result]:
    """All readable results under a folder, in the order of their names."""
    found = (read_result(file) for file in sorted(folder.rglob("*.json")))
    return [result for result in found if result is not None]
