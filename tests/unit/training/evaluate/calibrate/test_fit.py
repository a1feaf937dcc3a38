import numpy as np
import pytest

from diptych.bundle.calibration import RelevanceMap
from diptych_training.evaluate.calibrate.fit import (
    GROWTH,
    MIN_QUERIES,
    N_HITS,
    WIDTH,
    Searches,
    calibration_error,
    fit_map,
    relevance_of,
    simulate,
)

TRUE = RelevanceMap(floor=3.0, width=WIDTH, slope=1.5, growth=GROWTH)
N_BANK = 1000


def drawn_from(true: RelevanceMap, n: int = 6000) -> Searches:
    """Searches whose hits are relevant exactly as often as a map says."""
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(2, 1.5, (n, N_HITS)), axis=1)
    n_images = rng.choice([100, 1000, 10_000], n)
    searches = Searches(scores, np.zeros_like(scores, dtype=bool), n_images, np.arange(n) // 2)
    relevant = rng.random(scores.shape) < relevance_of(true, searches, N_BANK)
    return Searches(scores, relevant, n_images, searches.queries)


def test_the_map_that_made_the_searches_is_found_again() -> None:
    found = fit_map(drawn_from(TRUE), N_BANK)
    assert found is not None
    assert found.floor == pytest.approx(TRUE.floor, abs=0.15)
    assert found.slope == pytest.approx(TRUE.slope, rel=0.1)
    assert found.n_queries == 3000


def test_the_error_is_small_where_the_map_holds_and_large_where_it_does_not() -> None:
    searches = drawn_from(TRUE)
    fitted = fit_map(searches, N_BANK)
    assert fitted is not None
    assert fitted.error is not None
    assert fitted.error < 0.01
    wrong = relevance_of(TRUE.model_copy(update={"floor": 1.0}), searches, N_BANK)
    assert calibration_error(wrong, searches.relevant) > 0.05


def test_few_queries_give_no_map() -> None:
    few = drawn_from(TRUE).of(np.arange(6000) < 2 * (MIN_QUERIES - 1))
    assert fit_map(few, N_BANK) is None


N, D = 400, 16


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_picture_a_label() -> Searches:
    """Queries that are nearly equal to their only picture."""
    pictures = unit_rows(N, 0)
    return simulate(pictures @ pictures.T * 0.99, np.eye(N, dtype=bool))


def test_every_query_searches_with_and_without_what_it_means() -> None:
    searches = one_picture_a_label()
    found = searches.relevant.any(axis=1)
    assert found.sum() == len(searches) / 2
    assert (searches.scores[found, 0] > searches.scores[~found, 0].mean()).all()


def test_a_picture_does_not_find_itself() -> None:
    pictures = unit_rows(N, 0)
    cosines = pictures @ pictures.T
    np.fill_diagonal(cosines, np.nan)
    pairs = np.arange(N)[:, None] // 2 == np.arange(N)[None] // 2
    np.fill_diagonal(pairs, False)
    searches = simulate(cosines, pairs)
    assert np.isfinite(searches.scores).all()
    assert searches.relevant.sum(axis=1).max() == 1
