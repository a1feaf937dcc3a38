"""Results of a comparison of two versions, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from diptych.errors import Conflict


@dataclass(frozen=True)
class ComparedVectors:
    """The vectors of one side.

    They were made by a version that was proven on this machine when it was loaded: the cosines between its
    golden outputs and those of the trained model are at least `golden_cosine_min`.
    """

    model: str
    version: int
    precision: str
    golden_cosine_min: float


@dataclass(frozen=True)
class ChangedQuery:
    """One query, and the ids of the first ten images of both sides. Either `text` or `id` is set."""

    overlap: float  # the share of the ten that both sides find
    old: list[str]
    new: list[str]
    text: str | None = None
    id: str | None = None  # of an image of the collection


@dataclass(frozen=True)
class CollectionComparison:
    """One collection. `old` is None where nothing serves yet, and there is nothing to compare with then.

    `coverage`: of the images that searches find with the old vectors, the share that has new ones.
    `overlap_at_10`: the mean over `n_queries` queries, by sampled images and by their names; None without
    any. `changed`: those that change most.
    """

    collection: str
    n_images: int
    coverage: float
    new: ComparedVectors
    old: ComparedVectors | None = None
    n_queries: int = 0
    overlap_at_10: float | None = None
    changed: list[ChangedQuery] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """A comparison of the collections that have both kinds of vectors. `unmet`: why a switch is refused."""

    collections: list[CollectionComparison]
    unmet: list[str] = field(default_factory=list)

    def as_json(self) -> Mapping[str, Any]:
        """Return a JSON object of the same names."""
        return asdict(self)

    def require_met(self) -> None:
        """Raise Conflict with the overlaps that are below their bound."""
        if self.unmet:
            raise Conflict("; ".join(self.unmet))


def unmet_by(one: CollectionComparison, min_overlap: float | None) -> list[str]:
    """A sentence if the collection's overlap@10 (0 to 1) is below `min_overlap`, which None leaves open."""
    overlap = one.overlap_at_10
    if min_overlap is None or overlap is None or overlap >= min_overlap:
        return []
    return [
        f"collection {one.collection!r}: overlap@10 of old and new is {overlap:.3f} on {one.n_queries} "
        f"queries, min_overlap is {min_overlap:g}"
    ]
