"""The results of an evaluation as data that is stored and read again."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Literal

from diptych_training.data.packed import Kind, Split
from diptych_training.errors import EvaluationError
from diptych_training.schema import Frozen, read_record

CONFUSIONS_FILE = "confusions.png"  # next to the numbers
KINDS: tuple[Kind, ...] = ("emoji", "icons", "pairs")


class Scores(Frozen):
    """Accuracies and recalls of images of one source, each from 0 to 1; the keys of the dictionaries are
    k.
    """

    n_images: int
    zero_shot: dict[int, float]
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]


class SourceResult(Frozen):
    """One art style or icon set. `far` excludes near duplicates of training images; None if they are
    unknown.
    """

    source: str
    kind: Kind
    n_classes: int
    pixel_floor: float | None
    all: Scores
    far: Scores | None


class Means(Frozen):
    """Means over the sources of one kind: each style or set counts once, whatever its size."""

    n_sources: int
    pixel_floor: float | None
    all: Scores
    far: Scores | None


class Evaluation(Frozen):
    """The results of one model on one split of one data set."""

    schema_version: Literal[1] = 1
    model: str
    runtime: str
    dataset: str
    split: Split
    templates: tuple[str, ...]
    sources: tuple[SourceResult, ...]

    def of_kind(self, kind: Kind) -> list[SourceResult]:
        """The sources of one kind, in the order of measurement."""
        return [result for result in self.sources if result.kind == kind]

    def with_pixel_floors(self, floors: Mapping[str, float]) -> "Evaluation":
        """A copy with pixel floors by source name, where the data set stated none."""
        sources = tuple(
            result.model_copy(update={"pixel_floor": floors[result.source]})
            if result.pixel_floor is None and result.source in floors
            else result
            for result in self.sources
        )
        return self.model_copy(update={"sources": sources})

    def means(self) -> dict[Kind, Means]:
        """Macro means for each kind that has sources."""
        return {kind: _means(results) for kind in KINDS if (results := self.of_kind(kind))}


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation that `diptych-train evaluate` wrote. Raises EvaluationError naming file and key."""
    return read_record(path, Evaluation, EvaluationError)


def _means(results: list[SourceResult]) -> Means:
    floors = [result.pixel_floor for result in results if result.pixel_floor is not None]
    far = [result.far for result in results if result.far is not None]
    return Means(
        n_sources=len(results),
        pixel_floor=fmean(floors) if len(floors) == len(results) else None,
        all=_mean_scores([result.all for result in results]),
        far=_mean_scores(far) if far else None,
    )


def _mean_scores(scores: list[Scores]) -> Scores:
    return Scores(
        n_images=sum(score.n_images for score in scores),
        zero_shot=_mean_by_k([score.zero_shot for score in scores]),
        text_to_image=_mean_by_k([score.text_to_image for score in scores]),
        image_to_text=_mean_by_k([score.image_to_text for score in scores]),
    )


def _mean_by_k(rates: list[dict[int, float]]) -> dict[int, float]:
    return {k: fmean(rate[k] for rate in rates) for k in rates[0]}
