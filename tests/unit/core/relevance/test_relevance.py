"""Which hits may fit, and which are shown."""

from diptych.bundle.calibration import RECOMMENDED_RELEVANCE
from diptych.core.relevance.relevance import Relevance


def test_a_hit_may_fit_from_the_recommended_relevance_on() -> None:
    relevance, least = Relevance(), RECOMMENDED_RELEVANCE
    assert [relevance.fits(one) for one in (least - 0.01, least, None)] == [False, True, True]
    assert [relevance.shows(one) for one in (0.0, least, None)] == [True, True, True]


def test_a_bound_that_is_given_decides_what_fits_and_what_is_shown() -> None:
    relevance = Relevance(min_relevance=0.5)
    for decides in (relevance.fits, relevance.shows):
        assert [decides(one) for one in (0.49, 0.5, None)] == [False, True, True]
