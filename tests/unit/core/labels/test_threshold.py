"""The threshold that reaches the precision that is wanted."""

import numpy as np
import pytest

from diptych.core.labels.agreement import Share
from diptych.core.labels.assigned import Assigned
from diptych.core.labels.threshold import MIN_DRAWN, UNREACHED, Threshold, fitted


def given(scores: list[float]) -> Assigned:
    """Each image, by the place of its score, has label 0."""
    keys, labels = np.arange(len(scores)), np.zeros(len(scores), np.int32)
    found = np.array(scores, np.float32)
    return Assigned(keys, labels, found, found, keys, labels, found)


def said(are_right: list[bool]) -> dict[int, list[int]]:
    return {key: [0] if is_right else [] for key, is_right in enumerate(are_right)}


def test_precision_is_reached_by_the_lowest_threshold() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(2_000, np.float32)
    are_right = rng.random(2_000) < scores  # right with the probability that the score says
    found = fitted(given(scores.tolist()), said(are_right.tolist()), 0.9, 0.0)
    assert found.fitted_on == 2_000
    passes = scores >= np.float32(found.min_score)
    assert found.right == Share(int(passes.sum()), int(are_right[passes].sum()))
    assert found.right.n_agree / found.right.n >= 0.9
    assert found.min_score == pytest.approx(0.8, abs=0.05)  # the mean of scores from 0.8 to 1 is 0.9
    for lower in scores[scores < np.float32(found.min_score)]:
        assert are_right[scores >= lower].mean() < 0.9


def test_few_drawn_pictures_fit_nothing() -> None:
    scores = np.linspace(0, 1, MIN_DRAWN).tolist()
    right = said([False] * (MIN_DRAWN - 5) + [True] * 5)
    few = dict(list(right.items())[1:])
    assert fitted(given(scores), few, 0.9, 0.3) == Threshold(0.3)
    assert fitted(given(scores), right, 0.9, 0.3).right == Share(5, 5)


def test_all_labels_are_given_where_they_are_right_as_often_as_wanted() -> None:
    found = fitted(given([0.3 + 0.01 * i for i in range(20)]), said([False] + [True] * 19), 0.95, 0.0)
    assert found == Threshold(0.0, 20, Share(20, 19))


def test_labels_of_one_score_pass_together() -> None:
    found = fitted(given([0.2] * 10 + [0.6] * 10), said([False] * 13 + [True] * 7), 0.5, 0.0)
    assert found == Threshold(float(np.float32(0.6)), 20, Share(10, 7))


def test_nearest_threshold_is_taken_where_none_reaches_the_precision() -> None:
    scores = [0.1 * i for i in range(1, 21)]
    are_right = [False] * 14 + [True, True, True, True, True, False]
    found = fitted(given(scores), said(are_right), 0.95, 0.0)
    assert (found.min_score, found.right) == (pytest.approx(1.5), Share(6, 5))


@pytest.mark.parametrize(
    "are_right",
    [[False] * 20, [True] * 5 + [False] * 15, [True] * 19 + [False]],
    ids=["nothing is right", "only the lowest", "all but the best"],
)
def test_no_label_is_given_where_only_giving_all_of_them_comes_near(are_right: list[bool]) -> None:
    scores = [0.05 * i for i in range(20)]
    found = fitted(given(scores), said(are_right), 0.96, 0.0)
    assert found == Threshold(UNREACHED, 20, Share(0, 0))
    assert given([1.0]).above(found.min_score, many=True).labels.size == 0


def test_of_thresholds_that_come_equally_near_the_highest_is_taken() -> None:
    are_right = [False] * 16 + [True, False, True, False]
    found = fitted(given([0.1 * i for i in range(20)]), said(are_right), 0.95, 0.0)
    assert (found.min_score, found.right) == (pytest.approx(1.8), Share(2, 1))
