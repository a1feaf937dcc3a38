"""Results of a comparison of two versions, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
class ComparedLabels:
    """On how many of the n reviewed images of a label set both sides agree with what people said.

    `n_gained`: the new side alone agrees; `n_lost`: the old side alone. `agrees_less`: so many more are lost
    than gained that chance is ruled out, by a sign test (McNemar 1947), one-sided, at 5%.
    """

    label_set: str
    n: int
    n_agree_old: int
    n_agree_new: int
    n_gained: int
    n_lost: int
    agrees_less: bool


@dataclass(frozen=True)
class CollectionComparison:
    """One collection. `old` is None where nothing serves yet, and there is nothing to compare with then.

    `coverage`: of the images that searches find with the old vectors, the share that has new ones.
    `overlap_at_10`: the mean over `n_queries` queries, by sampled images and by their names; None without
    any. `changed`: those that change most. `labels`: of label sets with images that were reviewed.
    """

    collection: str
    n_images: int
    coverage: float
    new: ComparedVectors
    old: ComparedVectors | None = None
    n_queries: int = 0
    overlap_at_10: float | None = None
    changed: list[ChangedQuery] = field(default_factory=list)
    labels: list[ComparedLabels] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """A comparison of the collections that have both kinds of vectors. `unmet`: why a switch is refused."""

    collections: list[CollectionComparison]
    unmet: list[str] = field(default_factory=list)

    def as_json(self) -> Mapping[str, Any]:
        """Return a JSON object of the same names."""
        return asdict(self)

    def requiring_agreement(self, command: str) -> "Comparison":
        """The same, with a switch refused by label sets on which the new side agrees less with people.

        `command` serves the new side all the same.
        """
        lost = [
            less_agreement(one.collection, labels)
            for one in self.collections
            for labels in one.labels
            if labels.agrees_less
        ]
        if lost:
            lost[-1] += f". To serve it all the same: {command}"
        return replace(self, unmet=[*self.unmet, *lost])

    def require_met(self) -> None:
        """Raise Conflict with what refuses the switch."""
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


def less_agreement(collection: str, labels: ComparedLabels) -> str:
    """A sentence that the new side agrees less with people."""
    return (
        f"collection {collection!r}, label set {labels.label_set!r}: agrees with people on "
        f"{labels.n_agree_new} of {labels.n} reviewed images, {labels.n_agree_old} before "
        f"({labels.n_gained} gained, {labels.n_lost} lost)"
    )
