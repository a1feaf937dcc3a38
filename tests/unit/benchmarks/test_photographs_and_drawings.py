"""The paired difference of two models on the same photographs."""

import math

import numpy as np
import pytest

from benchmarks.photographs_and_drawings import first_numbers, paired, ranks


def test_a_difference_counts_what_one_of_two_models_names_right():
    first = np.array([1, 1, 1, 0, 1, 0, 0, 1], dtype=bool)
    second = np.array([1, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    found = paired(first, second)
    assert (found.n, found.n_both, found.n_first_only, found.n_second_only) == (8, 2, 3, 1)
    assert found.difference == pytest.approx(first.mean() - second.mean())
    by_picture = first.astype(float) - second.astype(float)
    assert found.standard_error == pytest.approx(by_picture.std() / math.sqrt(8))


def test_equal_models_differ_by_nothing():
    right = np.array([True, False, True])
    assert (paired(right, right).difference, paired(right, right).standard_error) == (0, 0)


def test_the_first_numbers_of_an_embedding_may_name_another_text_than_all_of_them():
    picture = np.array([[0.6, 0.0, 0.8, 0.0]], dtype=np.float32)
    texts = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=np.float32) / np.sqrt(2, dtype=np.float32)
    assert ranks(picture, texts, [0]).tolist() == [1]
    assert ranks(first_numbers(picture, 2), first_numbers(texts, 2), [0]).tolist() == [0]
