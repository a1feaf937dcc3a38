"""Right labels and ranks, the basis of every accuracy and recall."""

import numpy as np
import pytest

from diptych_training.evaluate.ranking import accepted_labels, best_ranks, hit_rates, relevance


def test_rank_counts_the_wrong_candidates_before_the_best_right_one() -> None:
    similarity = np.array([[0.9, 0.5, 0.1], [0.1, 0.9, 0.5]], dtype=np.float32)
    relevant = np.array([[False, True, True], [False, True, True]])

    assert best_ranks(similarity, relevant).tolist() == [1, 0]


def test_a_model_that_answers_the_same_everywhere_ranks_last() -> None:
    similarity = np.ones((2, 5), dtype=np.float32)
    relevant = np.zeros((2, 5), dtype=bool)
    relevant[:, 0] = True

    assert best_ranks(similarity, relevant).tolist() == [4, 4]


def test_a_row_without_a_right_candidate_is_never_right() -> None:
    ranks = best_ranks(np.ones((1, 3), dtype=np.float32), np.zeros((1, 3), dtype=bool))

    assert hit_rates(ranks, [1, 3]) == {1: 0.0, 3: 0.0}


def test_hit_rates_count_ranks_below_each_k() -> None:
    assert hit_rates(np.array([0, 1, 4, 9]), [1, 5, 10]) == {1: 0.25, 5: 0.75, 10: 1.0}


def test_hit_rates_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no ranks"):
        hit_rates(np.array([], dtype=np.int64), [1])


def test_identical_images_accept_each_others_labels() -> None:
    norway, sweden = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)

    accepted = accepted_labels([norway, sweden, norway], ["Norway", "Sweden", "Svalbard"])

    assert accepted == [{"Norway", "Svalbard"}, {"Sweden"}, {"Norway", "Svalbard"}]


def test_relevance_marks_every_accepted_class_and_ignores_labels_outside() -> None:
    accepted = [frozenset({"a", "b"}), frozenset({"elsewhere"})]

    assert relevance(accepted, ["a", "b", "c"]).tolist() == [[True, True, False], [False, False, False]]
