"""The measure of an approximate search: what counts as found, by which questions."""

import numpy as np
import pytest

from diptych.adapters.faiss_exam import MAX_HITS, Exam

DIM = 8
NO_ROWS = np.empty((0, DIM), np.float32)
NO_KEYS = np.empty(0, np.int64)


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


KEYS, ROWS = np.arange(1_000, 1_400), unit_rows(400)


def answers(exam: Exam, n: int = MAX_HITS + 1) -> tuple[np.ndarray, np.ndarray]:
    """The n nearest, as an exact search finds them."""
    cosines = exam.questions @ ROWS.T
    order = np.argsort(-cosines, axis=1)[:, :n]
    return KEYS[order], np.take_along_axis(cosines, order, axis=1)


def looked(held_back: int = 5, asked: np.ndarray = NO_ROWS) -> Exam:
    exam = Exam((KEYS[:held_back], ROWS[:held_back]), asked)
    for part in np.array_split(np.arange(400), 7):
        exam.look(KEYS[part], ROWS[part])
    return exam


def test_an_exact_search_finds_all() -> None:
    exam = looked(asked=unit_rows(9, seed=1))
    assert exam.recall(*answers(exam)) == 1.0


def test_a_row_that_is_a_question_is_no_answer_to_itself() -> None:
    exam = looked()
    keys, cosines = answers(exam)
    others = np.where(keys == KEYS[:5, np.newaxis], -np.inf, cosines)
    assert exam.recall(keys, others) == 1.0
    alone = np.where(keys == KEYS[:5, np.newaxis], cosines, -np.inf)
    assert exam.recall(keys, alone) == 0.0


def test_the_smallest_share_of_both_kinds_of_question_and_both_numbers_of_hits_is_told() -> None:
    exam = looked(held_back=10, asked=unit_rows(4, seed=1))
    keys, cosines = answers(exam)
    far = np.where(np.arange(MAX_HITS + 1) < 60, cosines, -np.inf)
    far[:10] = cosines[:10]  # rows find all, and real queries only the nearest 60
    assert exam.recall(keys, far) == pytest.approx(0.6)
    near = cosines.copy()
    near[:10, 1:6] = -np.inf  # the nearest but the row itself: 5 of 10, of 100 only a few
    assert exam.recall(keys, near) == pytest.approx(0.5)


def test_rows_that_are_equal_are_as_good_as_each_other() -> None:
    twins = np.repeat(unit_rows(1), 300, axis=0)
    exam = Exam((NO_KEYS, NO_ROWS), twins[:1])
    exam.look(np.arange(300), twins)
    others = np.arange(150, 150 + MAX_HITS)[np.newaxis]
    assert exam.recall(others, np.ones(others.shape, np.float32)) == 1.0


def test_fewer_rows_than_hits_are_all_that_can_be_found() -> None:
    exam = Exam((KEYS[:1], ROWS[:1]), NO_ROWS)
    exam.look(KEYS[:4], ROWS[:4])
    cosines = (ROWS[:1] @ ROWS[:4].T).astype(np.float32)
    assert exam.recall(KEYS[np.newaxis, :4], cosines) == 1.0
    assert exam.recall(KEYS[np.newaxis, :2], cosines[:, :2]) == pytest.approx(1 / 3)


def test_without_questions_nothing_is_missed() -> None:
    nothing = np.empty((0, 12), np.int64), np.empty((0, 12), np.float32)
    assert Exam((NO_KEYS, NO_ROWS), NO_ROWS).recall(*nothing) == 1.0
