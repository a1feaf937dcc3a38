"""Fit the map from standard scores to relevance, and measure how reliable it is."""

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.calibration import Probabilities, RelevanceMap
from diptych_training.calibrate.searches import Searches

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


def fit_map(searches: Searches, n_bank: int) -> RelevanceMap | None:
    """The map of one kind of query, with the error that each half of the queries has with the other's map.

    `n_bank` is the size of the bank that the calibration will have. None if there are too few queries.
    """
    queries = np.unique(searches.queries)
    if len(queries) < MIN_QUERIES:
        return None
    is_first = np.isin(searches.queries, queries[::2])
    first, second = searches.of(is_first), searches.of(~is_first)
    halves = ((_fitted(first, n_bank), second), (_fitted(second, n_bank), first))
    predicted = np.concatenate([relevance_of(one, other, n_bank)[:, :MEASURED_HITS] for one, other in halves])
    actual = np.concatenate([other.relevant[:, :MEASURED_HITS] for _, other in halves])
    return _fitted(searches, n_bank).model_copy(
        update={"error": round(calibration_error(predicted, actual), 4), "n_queries": len(queries)}
    )


def relevance_of(one: RelevanceMap, searches: Searches, n_bank: int) -> Probabilities:
    """The relevance (S, K) of the hits of searches."""
    log_size = np.log(searches.n_images / n_bank)[:, None]
    return one.probabilities(searches.scores, searches.scores[:, :1], log_size)


def calibration_error(predicted: Probabilities, actual: NDArray[np.bool_]) -> float:
    """The mean distance of predicted from observed relevance over ten bins, each weighted by its hits."""
    bins = np.clip(np.digitize(predicted.ravel(), BINS) - 1, 0, len(BINS) - 2)
    n = np.bincount(bins, minlength=len(BINS) - 1)
    gaps = np.bincount(bins, predicted.ravel(), len(BINS) - 1) - np.bincount(
        bins, actual.ravel().astype(np.float64), len(BINS) - 1
    )
    return float(np.abs(gaps).sum() / max(n.sum(), 1))


def _fitted(searches: Searches, n_bank: int) -> RelevanceMap:
    """Slope and floor by logistic regression of relevance on the effective score."""
    best = searches.scores[:, :1]
    effective = (searches.scores - WIDTH * (best - searches.scores)).ravel()
    shift = np.broadcast_to(-GROWTH * np.log(searches.n_images / n_bank)[:, None], best.shape)
    offset = np.broadcast_to(shift, searches.scores.shape).ravel()
    slope, intercept = _logistic(effective, searches.relevant.ravel().astype(np.float64), offset)
    slope = max(slope, 1e-3)  # a model that knows nothing
    floor = float(np.clip(-intercept / slope, -100, 100))
    return RelevanceMap(floor=round(floor, 4), width=WIDTH, slope=round(min(slope, 100), 4), growth=GROWTH)


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
