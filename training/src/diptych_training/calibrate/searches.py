"""Simulated searches on labelled pictures: for what is there, and for what is not."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.calibration import MIN_DEVIATION

N_HITS = 20  # of each search
SHARES = (1.0, 0.5, 0.25, 0.125)  # of the pictures that are searched
N_ROUNDS = 2
SEED = 0
MIN_SEARCHED = 2 * N_HITS


@dataclass(frozen=True, eq=False)
class Searches:
    """S searches with their K best hits, best first.

    `scores` (S, K) are standard scores, `relevant` (S, K) says which hits are what was meant, `n_images` (S,)
    is how many pictures were compared, and `queries` (S,) tells the queries apart.
    """

    scores: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    n_images: NDArray[np.int64]
    queries: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.queries)

    def of(self, chosen: NDArray[np.bool_]) -> "Searches":
        """The searches that are chosen, (S,)."""
        return Searches(
            self.scores[chosen], self.relevant[chosen], self.n_images[chosen], self.queries[chosen]
        )


def simulate(cosines: NDArray[np.float32], relevant: NDArray[np.bool_]) -> Searches:
    """Search parts of N pictures with Q queries, by cosines (Q, N); NaN is a picture that is the query.

    One half of the pictures is searched, at several sizes, and the other half is the background. Each query
    that has something relevant there (Q, N) searches twice: with it, and without it.
    """
    rng = np.random.default_rng(SEED)
    found = [
        one
        for _ in range(N_ROUNDS)
        for background, searched in _halves(rng, cosines.shape[1])
        for one in _searches(rng, cosines, relevant, background, searched)
    ]
    if not found:
        return Searches(
            np.empty((0, N_HITS)),
            np.empty((0, N_HITS), np.bool_),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
        )
    return Searches(
        scores=np.concatenate([one.scores for one in found]),
        relevant=np.concatenate([one.relevant for one in found]),
        n_images=np.concatenate([one.n_images for one in found]),
        queries=np.concatenate([one.queries for one in found]),
    )


def _halves(rng: np.random.Generator, n: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    order = rng.permutation(n)
    first, second = order[: n // 2], order[n // 2 :]
    yield first, second
    yield second, first


def _searches(
    rng: np.random.Generator,
    cosines: NDArray[np.float32],
    relevant: NDArray[np.bool_],
    background: NDArray[np.int64],
    searched: NDArray[np.int64],
) -> Iterator[Searches]:
    mean = np.nanmean(cosines[:, background], axis=1, keepdims=True)  # (Q, 1)
    deviation = np.maximum(np.nanstd(cosines[:, background], axis=1, keepdims=True), MIN_DEVIATION)
    for share in SHARES:
        n = int(share * len(searched))
        if n < MIN_SEARCHED:
            return
        columns = rng.choice(searched, n, replace=False)
        queries = np.flatnonzero(relevant[:, columns].any(axis=1))
        if not len(queries):
            continue
        grid = np.ix_(queries, columns)
        scores = (cosines[grid] - mean[queries]) / deviation[queries]
        scores[np.isnan(scores)] = -np.inf
        there = relevant[grid]
        yield _best(scores, there, queries, n)
        yield _best(np.where(there, -np.inf, scores), there, queries, n)


def _best(
    scores: NDArray[np.floating], relevant: NDArray[np.bool_], queries: NDArray[np.int64], n: int
) -> Searches:
    top = np.argpartition(-scores, N_HITS - 1, axis=1)[:, :N_HITS]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(top, order, axis=1)
    best = np.take_along_axis(scores, top, axis=1).astype(np.float64)
    is_there = np.isfinite(best)  # fewer pictures than hits may be left
    return Searches(
        scores=np.where(is_there, best, -1e3),
        relevant=np.take_along_axis(relevant, top, axis=1) & is_there,
        n_images=np.full(len(queries), n),
        queries=queries,
    )
