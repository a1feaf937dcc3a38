"""The choice of a mix by what it gains on the user's pairs and loses on the shipped set."""

import pytest

from diptych_training.errors import EvaluationError
from diptych_training.refresh.evaluation.evaluate import choose_alpha
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


def test_a_gain_on_the_shipped_set_is_within_any_bound():
    chosen = choose_alpha(evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 90}), max_loss=0)

    assert (chosen.alpha, chosen.loss) == (0.5, pytest.approx(-10))


def test_with_few_pairs_the_weight_is_fixed_and_its_loss_is_told():
    measured = evaluation({0: 20, 0.5: 60, 1: 90}, {0: 90, 0.5: 80, 1: 10}, n_own_pairs=199)

    chosen = choose_alpha(measured)

    assert (chosen.alpha, chosen.loss, chosen.is_within) == (0.5, pytest.approx(10), False)
    assert "199 pairs are too few" in chosen.reason
    assert choose_alpha(evaluation({0: 20, 0.5: 60}, {0: 90, 0.5: 80}, n_own_pairs=200)).alpha == 0


def test_without_held_out_pairs_the_weight_is_fixed():
    chosen = choose_alpha(evaluation({0: None, 0.5: None}, {0: 90, 0.5: 89}))

    assert (chosen.alpha, chosen.reason) == (0.5, "fixed: no pair was held out to choose by")


def test_a_fixed_weight_that_was_not_measured_is_refused():
    with pytest.raises(EvaluationError, match=r"alpha 0\.5 was not measured; measured are 0, 1"):
        choose_alpha(evaluation({0: 20, 1: 60}, {0: 90, 1: 90}, n_own_pairs=20))
