"""The choice of a mix by what it gains on the user's pairs and loses on the shipped set."""

import numpy as np
import pytest

from diptych_training.refresh.evaluation.difference import paired_difference
from diptych_training.refresh.evaluation.evaluate import Loss, choose_alpha
from support.reports import evaluation


def test_the_best_own_score_within_the_bound_at_the_worse_end_of_its_interval_is_chosen():
    # 10, 20, 30 of 1,000 drawings lost: worse ends 1.7, 3.0 and 4.1.
    measured = evaluation(
        {0: 20, 0.25: 40, 0.5: 60, 0.75: 70, 1: 80}, {0: 90, 0.25: 89, 0.5: 88, 0.75: 87, 1: 50}
    )

    chosen = choose_alpha(measured)

    assert (chosen.alpha, chosen.is_within) == (0.5, True)
    assert chosen.losses[0].points == pytest.approx(2.9, abs=0.1)
    assert "60.0 on mine, the old model 20.0; 1 has 80.0, but drawings may lose" in chosen.reason
    assert choose_alpha(measured, max_loss=5).alpha == 0.75
    assert choose_alpha(measured, max_loss=100).alpha == 1


def test_drawings_do_not_make_up_for_lost_photographs():
    measured = evaluation({0: 20, 0.5: 60}, {0: 80, 0.5: 90}, photographs={0: 198, 0.5: 162})

    chosen = choose_alpha(measured)

    assert measured.shipped_difference(0.5).change > 0
    assert chosen.alpha == 0


def test_parts_of_too_few_photographs_are_judged_by_what_was_measured():
    measured = evaluation({0: 20, 0.5: 60}, {0: 90, 0.5: 90}, photographs={0: 198, 0.5: 194})

    drawings, photographs = choose_alpha(measured).losses

    assert (drawings.can_be_bounded, photographs.can_be_bounded) == (True, False)
    assert photographs.points == pytest.approx(100 * 4 / 198)
    assert photographs.is_within


@pytest.mark.parametrize(("n_photographs", "can_be_bounded"), [(67, False), (131, False), (132, True)])
def test_one_lost_crop_is_no_reason_to_refuse_a_weight(n_photographs, can_be_bounded):
    crops = [index // 3 for index in range(3 * n_photographs)]
    right = [True] * len(crops)

    loss = Loss("photographs", paired_difference(right, [*right[:-1], False], crops), max_loss=3)

    assert (loss.can_be_bounded, loss.is_within) == (can_be_bounded, True)


def test_a_tie_goes_to_the_smaller_alpha():
    assert choose_alpha(evaluation({0: 20, 0.25: 60, 0.5: 60}, {0: 90, 0.25: 90, 0.5: 90})).alpha == 0.25


def test_the_old_model_is_kept_if_nothing_within_the_bound_is_better():
    chosen = choose_alpha(evaluation({0: 20, 0.5: 60, 1: 90}, {0: 90, 0.5: 80, 1: 10}))

    assert (chosen.alpha, chosen.losses[0].points < 1, chosen.is_within) == (0, True, True)


def test_without_held_out_pairs_the_weight_is_fixed_and_its_loss_is_stated():
    chosen = choose_alpha(evaluation({0: None, 0.5: None}, {0: 90, 0.5: 80}))

    assert (chosen.alpha, chosen.reason) == (0.5, "fixed: no pair was held out to choose by")
    assert (chosen.losses[0].points > 10, chosen.is_within) == (True, False)


def test_a_weight_that_the_held_out_pairs_choose_gains_nothing_on_them_by_chance():
    rng = np.random.default_rng(0)
    reported, best = [], []
    for _ in range(100):
        hits = rng.random((5, 40)) < 0.5  # five mixes, none better than another
        own = {alpha: row.tolist() for alpha, row in zip((0, 0.25, 0.5, 0.75, 1), hits, strict=True)}
        measured = evaluation(own, dict.fromkeys(own, 90))
        chosen = choose_alpha(measured)
        assert chosen.own is not None
        reported.append(100 * chosen.own.difference.change)
        best.append(100 * (max(row.mean() for row in hits) - hits[0].mean()))

    assert np.mean(best) > 5
    assert abs(np.mean(reported)) < 3
