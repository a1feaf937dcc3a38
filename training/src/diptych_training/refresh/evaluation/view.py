"""One model's view of all pictures: the ranking of every query, and the best label of every picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings
from diptych_training.evaluate.confusions import softmax
from diptych_training.evaluate.ranking import best_ranks, relevance
from diptych_training.refresh.evaluation.picture_set import EmbeddedSet
from diptych_training.schema import Frozen

SetName = Literal["own", "shipped"]
OWN: SetName = "own"
SHIPPED: SetName = "shipped"


class Picture(Frozen):
    """A picture of a packed data set, the user's own or the shipped one, with its label."""

    set: SetName
    source: str
    index: int
    label: str


@dataclass(frozen=True)
class LabelledView:
    """The N pictures of one set against its C labels: cosines (N, C), and which are right (N, C)."""

    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    similarity: NDArray[np.float32]
    relevant: NDArray[np.bool_]
    logit_scale: float

    @cached_property
    def margins(self) -> NDArray[np.float32]:
        """(N,): cosine of each picture's best right label minus that of its best wrong one."""
        right = np.where(self.relevant, self.similarity, -np.inf).max(axis=1)
        wrong = np.where(self.relevant, -np.inf, self.similarity).max(axis=1)
        return np.asarray(right - wrong, dtype=np.float32)

    @cached_property
    def is_right(self) -> list[bool]:
        """Whether the best label of each picture is right; a tie with a wrong one is wrong."""
        return [bool(margin > 0) for margin in self.margins]

    def best_label(self, row: int) -> str:
        """The best label of a picture; of a tie, a wrong one."""
        return self.labels[self._best(row)]

    def probability(self, row: int) -> float:
        """The probability of the best label: a softmax of the scaled cosines, as a server computes it."""
        return float(softmax(self.logit_scale * self.similarity[row])[self._best(row)])

    def _best(self, row: int) -> int:
        among = self.relevant[row] if self.is_right[row] else ~self.relevant[row]
        return int(np.where(among, self.similarity[row], -np.inf).argmax())


@dataclass(frozen=True)
class View:
    """One model on the P pictures of all sets together, searched by Q queries, and on each set's labels.

    `similarity` (Q, P) has the cosines; `relevant` (Q, P) says which pictures are right for a query.
    """

    queries: tuple[str, ...]
    pictures: tuple[Picture, ...]
    similarity: NDArray[np.float32]
    relevant: NDArray[np.bool_]
    sets: tuple[LabelledView, ...]

    @cached_property
    def query_ranks(self) -> NDArray[np.int64]:
        """(Q,): rank of the first right picture, 0 is first; P without one."""
        return best_ranks(self.similarity, self.relevant)

    def rank_of(self, row: int) -> int | None:
        """Rank of the first right picture of a query, from 1; None without one."""
        return int(self.query_ranks[row]) + 1 if self.relevant[row].any() else None

    def best_pictures(self, row: int, n: int) -> list[int]:
        """Positions of the n best pictures of a query, best first; of a tie, wrong ones first."""
        order = np.lexsort((self.relevant[row], -self.similarity[row]))
        return [int(at) for at in order[:n]]


def view_of(
    embedded: Mapping[SetName, EmbeddedSet], queries: Sequence[str], rows: Embeddings, logit_scale: float
) -> View:
    """Build the view of a model that embedded these sets, and the queries as `rows` (Q, D)."""
    images = np.concatenate([one.images for one in embedded.values()])  # (P, D)
    accepted = [labels for one in embedded.values() for labels in one.pictures.accepted]
    labelled = tuple(_labelled(name, one, logit_scale) for name, one in embedded.items())
    return View(
        queries=tuple(queries),
        pictures=tuple(picture for one in labelled for picture in one.pictures),
        similarity=rows @ images.T,
        relevant=relevance(accepted, queries).T,
        sets=labelled,
    )


def _labelled(name: SetName, embedded: EmbeddedSet, logit_scale: float) -> LabelledView:
    pictures = embedded.pictures
    return LabelledView(
        labels=pictures.labels,
        pictures=tuple(
            Picture(set=name, source=source.name, index=index, label=source.items[index].label)
            for source, index in pictures.pictures()
        ),
        similarity=embedded.images @ embedded.class_rows.T,
        relevant=relevance(pictures.accepted, pictures.labels),
        logit_scale=logit_scale,
    )
