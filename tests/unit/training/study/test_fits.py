"""Numbers read off measured points, against cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from diptych_training.study.fits import factor, of_mean, over_data_sets, power_law, to_reach

CURVE = [(100, 0.1), (400, 0.3), (1600, 0.2), (6400, 0.5)]


@pytest.mark.parametrize(
    ("level", "images"),
    [
        (0.1, 100),
        (0.05, 100),  # there before the first point
        (0.2, 200),  # half of the way in accuracy is half of the way in logarithms
        (0.3, 400),
        (0.35, 1600 * 2),  # beyond a dip, from the point before it
        (0.6, math.inf),
    ],
)
def test_a_level_is_reached_between_two_points_on_a_logarithmic_scale(level, images):
    assert to_reach(CURVE, level) == pytest.approx(images)


def test_a_factor_is_of_the_accuracy_that_the_slower_one_ends_at():
    slow = [(100, 0.0), (1600, 0.2)]
    assert factor(slow, CURVE) == pytest.approx(8)
    assert factor(CURVE, slow) == 0


def test_a_power_law_is_found_again():
    x = [1e3, 1e4, 1e5]
    law = power_law(x, [2 * one**-0.25 for one in x])
    assert law.exponent == pytest.approx(-0.25)
    assert law.r2 == pytest.approx(1)
    assert law(1e6) == pytest.approx(2 * 1e6**-0.25)


def test_r2_is_the_share_of_the_spread_that_the_law_explains():
    law = power_law([1, 10, 100], [1, math.e, 1])  # logarithms 0, 1, 0: a flat line
    assert law.exponent == pytest.approx(0)
    assert law.r2 == pytest.approx(0)


def test_an_interval_holds_the_mean_and_narrows_with_more_data_sets():
    few = of_mean(np.array([0.0, 1.0] * 5))
    many = of_mean(np.array([0.0, 1.0] * 500))
    assert few.low < many.low < 0.5 < many.high < few.high
    assert of_mean(np.full(10, 0.25)).percent() == "25.0 to 25.0"
    assert of_mean(np.full(10, 0.25)).percent("+") == "+25.0 to +25.0"


def test_an_interval_of_something_never_reached_is_infinite():
    assert over_data_sets(3, lambda drawn: math.inf).high == math.inf
