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


def test_searches_that_find_nothing_or_everything_still_give_a_map() -> None:
    searches = drawn_from(TRUE)
    for relevant in (np.zeros_like(searches.relevant), np.ones_like(searches.relevant)):
        found = fit_map(Searches(searches.scores, relevant, searches.n_images, searches.queries), N_BANK)
        assert found is not None
