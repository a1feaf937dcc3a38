import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.core.classification import scoring

finite = st.floats(-1e4, 1e4, width=32)


@given(arrays(np.float32, (3, 5), elements=finite))
def test_softmax_of_any_logits_is_a_distribution_in_their_order(logits: np.ndarray) -> None:
    scores = scoring.softmax(logits)
    assert np.isfinite(scores).all()
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    best = scores[np.arange(3), logits.argmax(axis=1)]
    assert (best == scores.max(axis=1)).all()


def test_score_against_the_empty_label_is_the_two_way_softmax() -> None:
    logits = np.array([[3.0, -1.0, 30.0]], np.float32)
    empty = np.array([[1.0]], np.float32)
    expected = [scoring.softmax(np.array([logit, 1.0]))[0] for logit in logits[0]]
    assert scoring.against_empty(logits, empty)[0] == pytest.approx(expected, abs=1e-6)


def test_sigmoid_does_not_overflow() -> None:
    scores = scoring.sigmoid(np.array([-1e4, 0.0, 1e4], np.float32))
    assert scores.tolist() == [0.0, 0.5, 1.0]


@given(
    arrays(np.float32, st.integers(0, 40), elements=st.sampled_from([np.nan, -np.inf, -1, -0.0, 0, 0.5, 1])),
    st.integers(0, 45),
)
def test_best_few_are_the_first_of_all_sorted_ties_and_nan_included(scores: np.ndarray, k: int) -> None:
    assert scoring.top_k(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()
