"""The wrong answers that are furthest from the right ones, a few of each source; draws nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings
from diptych_training.data.packed import Kind, PackedSource
from diptych_training.evaluate.ranking import Accepted, relevance

PER_SOURCE = 2
CHUNK = 512  # images whose similarities to all classes are held at a time
PER_KIND: dict[Kind, int] = {"emoji": 10, "icons": 25, "pairs": 25}


@dataclass(frozen=True)
class EmbeddedSource:
    """One source as a model embeds it: N images (N, D), and the C classes (C, D) that they are of."""

    source: PackedSource
    images: Embeddings
    classes: Sequence[str]
    class_rows: Embeddings
    accepted: Accepted


@dataclass(frozen=True)
class Confusion:
    """One image of a source, by its place there and its embedding (D,), that got a wrong label.

    `right` is the best of its right labels. `probability` is that of `given` among all classes, `margin` by
    how much its cosine is above that of `right`. `nth`: how many images of the source are further off.
    """

    source: PackedSource
    index: int
    embedding: Embeddings
    right: str
    given: str
    probability: float
    margin: float
    nth: int


def widest_margins(answered: EmbeddedSource, logit_scale: float, n: int = PER_SOURCE) -> list[Confusion]:
    """Up to n images of a source with the widest margins, widest first, no two with the same labels.

    Scores are those of a server: a softmax of scaled cosines. Images without a right class are left out.
    """
    found: dict[tuple[str, str], Confusion] = {}
    for confusion in _by_margin(answered, logit_scale):
        found.setdefault((confusion.right, confusion.given), confusion)
        if len(found) == n:
            break
    return list(found.values())


def select_varied(confusions: Sequence[Confusion]) -> dict[Kind, list[Confusion]]:
    """Up to PER_KIND of each kind, widest margins first: one of each source, then more of them.

    Two sources that have the same pair of labels confused are shown once.
    """
    chosen: dict[Kind, list[Confusion]] = {}
    by_turn = sorted(confusions, key=lambda one: (one.nth, -one.margin, one.source.name))
    for kind, n in PER_KIND.items():
        of_kind: dict[tuple[str, str], Confusion] = {}
        for one in by_turn:
            if one.source.kind == kind:
                of_kind.setdefault((one.right, one.given), one)
        if of_kind:
            first = list(of_kind.values())[:n]
            chosen[kind] = sorted(first, key=lambda one: (-one.margin, one.source.name))
    return chosen


def _by_margin(answered: EmbeddedSource, logit_scale: float) -> Iterator[Confusion]:
    """All that are wrong, widest margin first; each is looked at as it is asked for."""
    starts = range(0, len(answered.images), CHUNK)
    margins = np.concatenate([_margins(answered, slice(start, start + CHUNK)) for start in starts])  # (N,)
    wrong = np.flatnonzero(margins > 0)
    for nth, index in enumerate(wrong[np.argsort(-margins[wrong], kind="stable")]):
        similarity = answered.class_rows @ answered.images[index]  # (C,)
        is_right = relevance([answered.accepted[index]], answered.classes)[0]  # (C,)
        given = int(np.where(is_right, -np.inf, similarity).argmax())
        yield Confusion(
            source=answered.source,
            index=int(index),
            embedding=answered.images[index],
            right=answered.classes[int(np.where(is_right, similarity, -np.inf).argmax())],
            given=answered.classes[given],
            probability=float(_softmax(logit_scale * similarity)[given]),
            margin=float(margins[index]),
            nth=nth,
        )


def _margins(answered: EmbeddedSource, part: slice) -> NDArray[np.float32]:
    """(B,): how much the best wrong class of each image is above its best right one; -inf without one."""
    similarity = answered.images[part] @ answered.class_rows.T  # (B, C)
    is_right = relevance(answered.accepted[part], answered.classes)  # (B, C)
    right = np.where(is_right, similarity, -np.inf).max(axis=1)
    given = np.where(is_right, -np.inf, similarity).max(axis=1)
    return np.where(is_right.any(axis=1), given - right, -np.inf).astype(np.float32)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exponentials = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
