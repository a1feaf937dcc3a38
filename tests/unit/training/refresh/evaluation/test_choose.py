"""The choice of a mix by what it gains on the user's pairs and loses on the shipped set."""

import pytest

from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.evaluation.results import paired_difference
from support.reports import evaluation


def test_the_best_own_score_within_the_bound_is_chosen():
    measured = evaluation(
        {0: 20, 0.25: 40, 0.5: 60, 0.75: 70, 1: 80}, {0: 90, 0.25: 89, 0.5: 87, 0.75: 86, 1: 50}
    )

    chosen = choose_alpha(measured)

    assert (chosen.alpha, chosen.is_within) == (0.5, True)
    assert chosen.loss == pytest.approx(3)
    assert "60.0 on mine, the old model 20.0" in chosen.reason
    assert choose_alpha(measured, max_loss=4).alpha == 0.75
    assert choose_alpha(measured, max_loss=100).alpha == 1


def test_a_tie_goes_to_the_smaller_alpha():
    assert choose_alpha(evaluation({0: 20, 0.25: 60, 0.5: 60}, {0: 90, 0.25: 90, 0.5: 90})).alpha == 0.25


def test_the_old_model_is_kept_if_nothing_within_the_bound_is_better():
    chosen = choose_alpha(evaluation({0: 20, 0.5: 60, 1: 90}, {0: 90, 0.5: 80, 1: 10}))

    assert (chosen.alpha, chosen.loss, chosen.is_within) == (0, 0, True)


def test_with_few_pairs_the_weight_is_fixed_and_its_loss_is_told():
    measured = evaluation({0: 20, 0.5: 60, 1: 90}, {0: 90, 0.5: 80, 1: 10}, n_own_pairs=199)

    chosen = choose_alpha(measured)

    assert (chosen.alpha, chosen.loss, chosen.is_within) == (0.5, pytest.approx(10), False)
    assert "199 pairs are too few" in chosen.reason
    assert choose_alpha(evaluation({0: 20, 0.5: 60}, {0: 90, 0.5: 80}, n_own_pairs=200)).alpha == 0


def test_without_held_out_pairs_the_weight_is_fixed():
    chosen = choose_alpha(evaluation({0: None, 0.5: None}, {0: 90, 0.5: 89}))

    assert (chosen.alpha, chosen.reason) == (0.5, "fixed: no pair was held out to choose by")


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
