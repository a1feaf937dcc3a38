"""What a comparison of two versions found, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from diptych.errors import Conflict

QueryKind = Literal["recorded", "sampled"]


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
class LabelQuality:
    """How well both sides find the labels of images. All are shares between 0 and 1.

    Accuracy: of `n_images` images, whose most similar label of `n_labels` is one of their own. Recall: of
    `n_label_queries` labels, whose search has an image with the label among the first ten.
    """

    label_field: str
    n_labels: int
    n_images: int
    n_label_queries: int
    old_accuracy: float
    new_accuracy: float
    old_recall_at_10: float
    new_recall_at_10: float


@dataclass(frozen=True)
class CollectionComparison:
    """One collection. `old` is None where nothing serves yet, and there is nothing to compare with then.

    `coverage`: of the images that searches find with the old vectors, the share that has new ones.
    `overlap_at_10`: the mean over `n_queries` queries, None without any. `changed`: those that change most.
    """

    collection: str
    n_images: int
    coverage: float
    new: ComparedVectors
    old: ComparedVectors | None = None
    queries: QueryKind | None = None
    n_queries: int = 0
    overlap_at_10: float | None = None
    changed: list[ChangedQuery] = field(default_factory=list)
    labels: LabelQuality | None = None


@dataclass(frozen=True)
class Comparison:
    """A comparison of the collections that have both kinds of vectors. `unmet`: gates that do not pass."""

    collections: list[CollectionComparison]
    unmet: list[str] = field(default_factory=list)

    def as_json(self) -> Mapping[str, Any]:
        """Return a JSON object of the same names."""
        return asdict(self)

    def require_gates(self) -> None:
        """Raise Conflict with the figures and bounds of the gates that do not pass."""
        if self.unmet:
            raise Conflict("; ".join(self.unmet))


@dataclass(frozen=True)
class Gates:
    """Bounds on what a switch may change; None reports only. They apply to each collection."""

    min_overlap: float | None = None  # 0 to 1, mean overlap@10
    max_accuracy_loss: float | None = None  # in points: of 100 images, how many more may be mistaken

    def unmet_by(self, one: CollectionComparison) -> list[str]:
        """One sentence for each gate that the collection does not pass."""
        found, overlap, labels = [], one.overlap_at_10, one.labels
        if self.min_overlap is not None and overlap is not None and overlap < self.min_overlap:
            found.append(
                f"collection {one.collection!r}: overlap@10 of old and new is {overlap:.3f} on "
                f"{one.n_queries} {one.queries} queries, min_overlap is {self.min_overlap:g}"
            )
        if self.max_accuracy_loss is not None and labels is not None:
            loss = 100 * (labels.old_accuracy - labels.new_accuracy)
            if loss > self.max_accuracy_loss + 1e-9:  # rounding of the difference
                found.append(
                    f"collection {one.collection!r}: zero-shot accuracy on {labels.label_field!r} falls from "
                    f"{labels.old_accuracy:.1%} to {labels.new_accuracy:.1%}, by {loss:.1f} points, "
                    f"max_accuracy_loss is {self.max_accuracy_loss:g}"
                )
        return found
