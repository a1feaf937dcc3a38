"""Results of cells as small JSON files, `PLAN/PART/CELL.json`, and how long cells that are left will take."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from subprocess import CalledProcessError, run

from pydantic import Field

from diptych_training.files import write_text
from diptych_training.schema import Frozen, find_record
from diptych_training.study.cells import Cell, Run
from diptych_training.study.plan import Part

Scores = dict[str, dict[str, float]]  # data set -> figure -> value


class Result(Frozen):
    """One measured model. `digest` is of everything that decides it: recipe, data, how it is measured.

    `images` and `flops` were spent on its training, forward and backward, with captions of `text_length`
    tokens; `objective` has the version of its code. `images_per_s` is the speed of the last part of it. Of a
    bundle these are unknown. `kinds` are those of the data sets with pictures of one source. `prediction` is
    the sha256 of the file of predictions that was there when the model was measured. `commit` is that of the
    code, if it lies in a checkout. `measured_s` are the seconds that measuring took.
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
    text_length: int | None = None
    objective: str | None = None
    tower: str | None = None  # the kind of its image tower
    images_per_s: float | None = None
    prediction: str | None = None
    commit: str | None = None
    measured_s: float
    kinds: dict[str, str] = Field(default={})
    scores: Scores


def code_commit() -> str | None:
    """The commit of this code, with "-changed" if it differs from it; None outside of a git checkout."""
    try:
        commit, changes = (_git(*words) for words in (("rev-parse", "HEAD"), ("diff", "HEAD", "--", ".")))
    except (OSError, CalledProcessError):
        return None
    return f"{commit}-changed" if changes else commit


def _git(*words: str) -> str:
    package = Path(__file__).parents[1]
    found = run(["git", *words], cwd=package, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return found.stdout.strip()


def result_file(folder: Path, part: str, cell: str) -> Path:
    """The file of one result."""
    return folder / part / f"{cell}.json"


def write_result(file: Path, result: Result) -> None:
    """Write a result atomically."""
    write_text(file, result.model_dump_json(indent=1, exclude_none=True) + "\n")


def all_results(folder: Path) -> list[Result]:
    """All readable results under a folder, in the order of their names."""
    found = (find_record(file, Result) for file in sorted(folder.rglob("*.json")))
    return [result for result in found if result is not None]


FLOPS_PER_S, MEASURE_S = 3e10, 60.0  # of two cores, where nothing is measured yet


def seconds_of(
    cells: Iterable[Cell], results: Sequence[Result], step_of: Callable[[str], int]
) -> list[float]:
    """Seconds to train and measure each of these cells, in this order. `step_of`: of a run, by its name."""
    reached: dict[str, int] = {}
    found = []
    for cell in cells:
        seconds = _measure_s(cell, results)
        if isinstance(cell.model, Run):
            run = cell.model
            n_left = run.images - reached.get(run.name, step_of(run.name)) * run.config.run.batch_size
            seconds += n_left * run.flops_per_image() / _flops_per_s(cell, results)
            reached[run.name] = run.config.run.steps
        found.append(seconds)
    return found


def _flops_per_s(cell: Cell, results: Sequence[Result]) -> float:
    """The median of the same variant, else of all."""
    rates = [
        (one.variant, one.images_per_s * one.flops / one.images)
        for one in results
        if one.images_per_s and one.flops and one.images
    ]
    return _likeliest(cell.variant, rates, FLOPS_PER_S)


def _measure_s(cell: Cell, results: Sequence[Result]) -> float:
    """The median of the same variant, else of the part."""
    return _likeliest(
        cell.variant, [(one.variant, one.measured_s) for one in results if one.part == cell.part], MEASURE_S
    )


def _likeliest(variant: str, known: Sequence[tuple[str, float]], otherwise: float) -> float:
    own = [value for name, value in known if name == variant]
    values = own or [value for _, value in known]
    return median(values) if values else otherwise
