"""Simulate searches on labelled pictures, and fit the map from standard scores to relevance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.calibration import Probabilities, QueryKind, RelevanceMap, background

N_HITS = 20  # of each search
SHARES = (1.0, 0.5, 0.25, 0.125)  # of the pictures that are searched
N_ROUNDS = 2
SEED = 0
MIN_SEARCHED = 2 * N_HITS
WHOLE_BANK = (0.0, 1.0)
# The nearest pictures of the bank that a hit has to stand out from, too. The first hundredth often shows what
# a text means. By an image, the whole bank does: the nearest are often right.
COHORTS: Mapping[QueryKind, tuple[float, float]] = {"text": (0.01, 0.15), "image": WHOLE_BANK}


@dataclass(frozen=True, eq=False)
class Searches:
    """S searches with their K best hits, best first.

    `scores` (S, K) are standard scores, `relevant` (S, K) says which hits are what was meant, `n_images` (S,)
    is how many pictures were compared, and `queries` (S,) numbers the queries.
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


def simulate(
    cosines: NDArray[np.float32], relevant: NDArray[np.bool_], cohort: tuple[float, float] = WHOLE_BANK
) -> Searches:
    """Search parts of N pictures with Q queries, by cosines (Q, N); NaN is a picture that is the query.

    One half of the pictures is searched, at several sizes, and the other half is the bank, whose `cohort`
    gives the scores. Each query that has something relevant there (Q, N) searches twice: with it, and
    without it.
    """
    rng = np.random.default_rng(SEED)
    found = [
        one
        for _ in range(N_ROUNDS)
        for bank, searched in _halves(rng, cosines.shape[1])
        if len(bank) >= MIN_SEARCHED
        for one in _searches(rng, _standardised(cosines, bank, cohort), relevant, searched)
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


def _standardised(
    cosines: NDArray[np.float32], bank: NDArray[np.int64], cohort: tuple[float, float]
) -> NDArray[np.float32]:
    """The standard scores (Q, N) of all pictures; that of the query itself is the lowest."""
    others = cosines[:, bank]
    others = np.where(np.isnan(others), np.nanmean(others, axis=1, keepdims=True), others)
    mean, deviation = background(others, cohort)
    scores: NDArray[np.float32] = (cosines - mean[:, None]) / deviation[:, None]
    scores[np.isnan(scores)] = -np.inf
    return scores


def _searches(
    rng: np.random.Generator,
    scores: NDArray[np.float32],
    relevant: NDArray[np.bool_],
    searched: NDArray[np.int64],
) -> Iterator[Searches]:
    for share in SHARES:
        n = int(share * len(searched))
        if n < MIN_SEARCHED:
            return
        columns = rng.choice(searched, n, replace=False)
        queries = np.flatnonzero(relevant[:, columns].any(axis=1))
        if not len(queries):
            continue
        grid = np.ix_(queries, columns)
        found, there = scores[grid], relevant[grid]
        yield _best(found, there, queries, n)
        yield _best(np.where(there, -np.inf, found), there, queries, n)


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


# Both were chosen so that one bound serves galleries with one, about five and many relevant pictures, of 600
# to 10,000 pictures. A larger width finds one relevant picture better, a smaller one finds many.
WIDTH = 1.75
# Between 0, where as many more pictures fit as a collection grows, and about 0.6, where one alone stays.
GROWTH = 0.4
MIN_QUERIES = 30  # with something relevant; a map of fewer would be noise
N_STEPS = 50
RIDGE = 1e-6
MEASURED_HITS = 5  # of each search: further down, relevance is near 0 and agrees by itself
BINS = np.linspace(0, 1, 11)


def fit_map(searches: Searches, n_bank: int, cohort: tuple[float, float] = WHOLE_BANK) -> RelevanceMap | None:
    """The map of one kind of query, with the error that each half of the queries has with the other's map.

    `n_bank` is the size of the bank that the calibration will have, `cohort` that of the standard scores.
    None if there are too few queries.
    """
    queries = np.unique(searches.queries)
    if len(queries) < MIN_QUERIES:
        return None
    is_first = np.isin(searches.queries, queries[::2])
    first, second = searches.of(is_first), searches.of(~is_first)
    halves = ((_fitted(first, n_bank, cohort), second), (_fitted(second, n_bank, cohort), first))
    predicted = np.concatenate([relevance_of(one, other, n_bank)[:, :MEASURED_HITS] for one, other in halves])
    actual = np.concatenate([other.relevant[:, :MEASURED_HITS] for _, other in halves])
    return _fitted(searches, n_bank, cohort).model_copy(
        update={"error": round(calibration_error(predicted, actual), 4), "n_queries": len(queries)}
    )


def relevance_of(one: RelevanceMap, searches: Searches, n_bank: int) -> Probabilities:
    """The relevance (S, K) of the hits of searches."""
    log_size = np.log(searches.n_images / n_bank)[:, None]
    return one.probabilities(searches.scores, searches.scores[:, :1], log_size)


def map_error(one: RelevanceMap, searches: Searches, n_bank: int) -> float:
    """The calibration error of a map, made for a bank of this size, on searches that may be new to it."""
    predicted = relevance_of(one, searches, n_bank)[:, :MEASURED_HITS]
    return round(calibration_error(predicted, searches.relevant[:, :MEASURED_HITS]), 4)


def calibration_error(predicted: Probabilities, actual: NDArray[np.bool_]) -> float:
    """The mean distance of predicted from observed relevance over ten bins, each weighted by its hits."""
    bins = np.clip(np.digitize(predicted.ravel(), BINS) - 1, 0, len(BINS) - 2)
    n = np.bincount(bins, minlength=len(BINS) - 1)
    gaps = np.bincount(bins, predicted.ravel(), len(BINS) - 1) - np.bincount(
        bins, actual.ravel().astype(np.float64), len(BINS) - 1
    )
    return float(np.abs(gaps).sum() / max(n.sum(), 1))


def _fitted(searches: Searches, n_bank: int, cohort: tuple[float, float]) -> RelevanceMap:
    """Slope and floor by logistic regression of relevance on the effective score."""
    best = searches.scores[:, :1]
    effective = (searches.scores - WIDTH * (best - searches.scores)).ravel()
    shift = np.broadcast_to(-GROWTH * np.log(searches.n_images / n_bank)[:, None], best.shape)
    offset = np.broadcast_to(shift, searches.scores.shape).ravel()
    slope, intercept = _logistic(effective, searches.relevant.ravel().astype(np.float64), offset)
    slope = max(slope, 1e-3)  # a model that knows nothing
    floor = float(np.clip(-intercept / slope, -100, 100))
    return RelevanceMap(
        floor=round(floor, 4),
        width=WIDTH,
        slope=round(min(slope, 100), 4),
        growth=GROWTH,
        cohort=cohort,
    )


def _logistic(
    feature: NDArray[np.float64], target: NDArray[np.float64], offset: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on one feature, by Newton's method."""
    rows = np.stack([np.maximum(feature, -100.0), np.ones_like(feature)], axis=1)  # (R, 2)
    weights = np.zeros(2)
    for _ in range(N_STEPS):
        probability = _sigmoid(rows @ weights + offset)
        curvature = probability * (1 - probability)
        gradient = rows.T @ (probability - target) + RIDGE * weights
        hessian = (rows * curvature[:, None]).T @ rows + RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])


def _sigmoid(log_odds: NDArray[np.float64]) -> Probabilities:
    found: Probabilities = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0)))
    return found
