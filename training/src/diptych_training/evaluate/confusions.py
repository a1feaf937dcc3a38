"""The confusions of a model: wrong answers with the largest margins over the right label, a few per
source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings
from diptych_training.data.packed import Kind, PackedSource
from diptych_training.evaluate.ranking import Accepted, relevance

PER_SOURCE = 2
CHUNK = 512  # images whose similarities to all classes are in memory at once
# Clinical icons have such names. They count in all figures, but the picture on a card is no place for them.
NOT_SHOWN = frozenset(
    {"anus", "breast", "condom", "genitals", "penis", "sex", "sexual", "testicle", "vagina", "vulva"}
)
PER_KIND: dict[Kind, int] = {"emoji": 10, "icons": 25, "pairs": 25}


@dataclass(frozen=True)
class EmbeddedSource:
    """One source as a model embeds it: N images (N, D) and the C classes (C, D) that they belong to."""

    source: PackedSource
    images: Embeddings
    classes: Sequence[str]
    class_rows: Embeddings
    accepted: Accepted


@dataclass(frozen=True)
class Confusion:
    """An image of a source that got a wrong label, with its index there and its embedding (D,).

    `right` is the best of its right labels. `probability` is that of `given` among all classes; `margin` is
    the cosine of `given` minus that of `right`. `rank` counts the images of the source with larger margins.
    """

    source: PackedSource
    index: int
    embedding: Embeddings
    right: str
    given: str
    probability: float
    margin: float
    rank: int


def widest_margins(source: EmbeddedSource, logit_scale: float, n: int = PER_SOURCE) -> list[Confusion]:
    """Up to n images of a source with the largest margins, largest first, all with different pairs of labels.

    Scores are those of a server: a softmax of scaled cosines. Images without a right class are left out, and
    those of which a label has one of the words NOT_SHOWN.
    """
    found: dict[tuple[str, str], Confusion] = {}
    for confusion in _by_margin(source, logit_scale):
        if NOT_SHOWN.isdisjoint(f"{confusion.right} {confusion.given}".lower().split()):
            found.setdefault((confusion.right, confusion.given), confusion)
        if len(found) == n:
            break
    return list(found.values())


def select_varied(confusions: Sequence[Confusion]) -> dict[Kind, list[Confusion]]:
    """Up to PER_KIND confusions of each kind, largest margins first: one of each source, then further ones.

    A pair of labels that two sources confuse is shown once.
    """
    chosen: dict[Kind, list[Confusion]] = {}
    by_turn = sorted(confusions, key=lambda one: (one.rank, -one.margin, one.source.name))
    for kind, n in PER_KIND.items():
        of_kind: dict[tuple[str, str], Confusion] = {}
        for one in by_turn:
            if one.source.kind == kind:
                of_kind.setdefault((one.right, one.given), one)
        if of_kind:
            first = list(of_kind.values())[:n]
            chosen[kind] = sorted(first, key=lambda one: (-one.margin, one.source.name))
    return chosen


def _by_margin(source: EmbeddedSource, logit_scale: float) -> Iterator[Confusion]:
    """Yield all wrong answers, largest margin first, lazily."""
    starts = range(0, len(source.images), CHUNK)
    margins = np.concatenate([_margins(source, slice(start, start + CHUNK)) for start in starts])  # (N,)
    wrong = np.flatnonzero(margins > 0)
    for rank, index in enumerate(wrong[np.argsort(-margins[wrong], kind="stable")]):
        similarity = source.class_rows @ source.images[index]  # (C,)
        is_right = relevance([source.accepted[index]], source.classes)[0]  # (C,)
        given = int(np.where(is_right, -np.inf, similarity).argmax())
        yield Confusion(
            source=source.source,
            index=int(index),
            embedding=source.images[index],
            right=source.classes[int(np.where(is_right, similarity, -np.inf).argmax())],
            given=source.classes[given],
            probability=float(softmax(logit_scale * similarity)[given]),
            margin=float(margins[index]),
            rank=rank,
        )


def _margins(source: EmbeddedSource, part: slice) -> NDArray[np.float32]:
    """(B,): cosine of each image's best wrong class minus that of its best right one; -inf without a right
    one.
    """
    similarity = source.images[part] @ source.class_rows.T  # (B, C)
    return wrong_margins(similarity, relevance(source.accepted[part], source.classes))


def wrong_margins(similarity: NDArray[np.float32], is_right: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(B, C) similarities and right answers -> (B,): the best wrong one minus the best right one.

    -inf where there is no right one.
    """
    right = np.where(is_right, similarity, -np.inf).max(axis=1)
    given = np.where(is_right, -np.inf, similarity).max(axis=1)
    return np.where(is_right.any(axis=1), given - right, -np.inf).astype(np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(C,) logits -> (C,) probabilities."""
    exponentials = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
