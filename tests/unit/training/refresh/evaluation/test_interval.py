"""The interval of the difference of two models on the same pictures, against figures computed by hand."""

import pytest

from diptych_training.refresh.evaluation.results import paired_difference


def outcomes(both: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Which pictures the old model gets right, and which the new one."""
    old = [True] * (both + lost) + [False] * (gained + neither)
    new = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return old, new


def test_the_interval_is_that_of_bonett_and_price():
    # The counts of the example in Fagerland et al. 2014: n = 21, b = 1, c = 7. By hand: p = 2/23, q = 8/23,
    # p - q = -0.2609, variance (10/23 - 36/529)/23 = 0.015945, standard error 0.12627, times 1.96.
    found = paired_difference(*outcomes(both=1, lost=7, gained=1, neither=12))

    assert (found.old, found.new) == (8 / 21, 2 / 21)
    assert found.change == pytest.approx(-6 / 21)
    assert (found.low, found.high) == (pytest.approx(-0.508, abs=5e-4), pytest.approx(-0.013, abs=5e-4))
    assert found.verdict == "worse"


def test_an_interval_around_zero_is_no_clear_change():
    found = paired_difference(*outcomes(both=10, lost=2, gained=4, neither=4))

    assert found.change == pytest.approx(0.1)
    assert found.low < 0 < found.high
    assert found.verdict == "no clear change"


def test_many_gains_and_few_losses_are_better():
    found = paired_difference(*outcomes(both=50, lost=5, gained=25, neither=20))

    assert (found.n, found.n_gained, found.n_lost, found.verdict) == (100, 25, 5, "better")


def test_equal_answers_have_an_interval_that_shrinks_with_the_number_of_pictures():
    few, many = (paired_difference(*outcomes(n, 0, 0, n)) for n in (5, 500))

    assert few.change == many.change == 0
    assert few.high == pytest.approx(1.96 * 2**0.5 / 12, abs=1e-4)
    assert many.high == pytest.approx(1.96 * 2**0.5 / 1002, abs=1e-6)
    assert few.verdict == many.verdict == "no clear change"


def test_bounds_stay_within_one():
    assert paired_difference([False] * 4, [True] * 4).high == 1
    assert paired_difference([True] * 4, [False] * 4).low == -1


def test_no_pictures_or_other_numbers_of_them_are_refused():
    with pytest.raises(ValueError, match="no pictures"):
        paired_difference([], [])
    with pytest.raises(ValueError, match="argument 2"):
        paired_difference([True], [])
