"""Measure how many of the nearest rows a search finds, by questions whose answers are known. Knows no GPU."""

from typing import Any

import faiss
import numpy as np

from diptych.adapters.faiss_gpu import MAX_ERROR
from diptych.core.types import Embeddings, Keys

N_HITS = (10, 100)  # the recall of each is measured
MAX_HITS = max(N_HITS)


class Exam:
    """Questions to a collection: rows of it, and what was really asked; texts lie elsewhere than images do.

    A row that is a question is none of its answers. The answers are gathered over all rows, block by block.
    """

    def __init__(self, held_back: tuple[Keys, Embeddings], asked: Embeddings) -> None:
        """`held_back` are (N,) and (N, D), `asked` is (M, D); Q = N + M."""
        keys, rows = held_back
        self.questions = np.concatenate([rows, asked])  # (Q, D)
        self._own = np.concatenate([keys, np.full(len(asked), -1)])  # (Q,)
        self._groups = [
            group for group in (slice(len(rows)), slice(len(rows), None)) if len(self._own[group])
        ]
        self._best = np.full((len(self._own), MAX_HITS), -np.inf, np.float32)

    def look(self, keys: Keys, rows: Embeddings) -> None:
        """(N,) and (N, D), none of which was seen before, may be answers."""
        found: Any = faiss.knn(
            self.questions, rows, min(MAX_HITS + 1, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
        )
        cosines = self._without_own(keys[found[1]], found[0])
        both = np.concatenate([self._best, cosines], axis=1)
        self._best = -np.sort(-both, axis=1)[:, :MAX_HITS]

    def recall(self, keys: Keys, cosines: Embeddings) -> float:
        """What a search found, (Q, at least MAX_HITS + 1) each, -inf where nothing -> the smallest share.

        Of the shares of each kind of question at each of N_HITS. Rows that are as near as the last answer
        are as good as that one.
        """
        found = self._without_own(keys, cosines)
        return min(
            (self._share(found[of], self._best[of], n) for of in self._groups for n in N_HITS), default=1.0
        )

    def _without_own(self, keys: Keys, cosines: Embeddings) -> Embeddings:
        without: Embeddings = np.where(keys == self._own[:, np.newaxis], np.float32(-np.inf), cosines)
        return without

    @staticmethod
    def _share(found: Embeddings, best: Embeddings, n_hits: int) -> float:
        answers = best[:, :n_hits]
        n_answers = np.isfinite(answers).sum(axis=1)  # fewer where there are fewer rows
        least = np.min(answers, axis=1, where=np.isfinite(answers), initial=np.inf) - MAX_ERROR
        n_found = np.minimum((found >= least[:, np.newaxis]).sum(axis=1), n_answers)
        return float(n_found.sum() / max(1, n_answers.sum()))
