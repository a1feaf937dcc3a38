"""How hits by words and hits by meaning become one ranking."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.collections.ranking.fusion import N_FUSED, fused


def ranking(words: list[int], meaning: list[int], n_fitting: int, end: int = 10_000) -> list[int]:
    return fused(np.array(words, np.int64), np.array(meaning, np.int64), n_fitting, end).tolist()


def test_an_image_that_both_find_is_first_and_then_words_weigh_more() -> None:
    assert ranking([1, 2, 3], [4, 3, 5], 3) == [3, 1, 2, 4, 5]
    assert ranking([*range(1, 41)], [100], 1).index(100) == 31  # yet not all words come before all meaning


def test_the_only_image_with_the_words_is_first_whatever_meaning_finds() -> None:
    assert ranking([9], [1, 2, 3], 3)[0] == 9


def test_images_that_do_not_fit_come_after_all_that_carry_the_words() -> None:
    assert ranking([7, 8, 2], [1, 2, 3, 8, 4], 1) == [7, 8, 2, 1, 3, 4]


def test_without_words_the_ranking_is_that_of_meaning() -> None:
    assert ranking([], [3, 1, 2], 1) == [3, 1, 2]
    assert ranking([], [3, 1, 2], 3) == [3, 1, 2]


KEYS = st.lists(st.integers(1, 3 * N_FUSED), unique=True, max_size=2 * N_FUSED)


@settings(deadline=None)
@given(KEYS, st.permutations(range(1, 3 * N_FUSED + 1)), st.integers(0, 2 * N_FUSED), st.integers(7, 700))
def test_pages_of_any_size_show_every_image_once(
    words: list[int], meaning: list[int], n_fitting: int, k: int
) -> None:
    whole = ranking(words, meaning, n_fitting)
    assert sorted(whole) == sorted(meaning)
    pages = []
    for end in range(k, len(whole) + k, k):  # meaning is read as far as a page needs it
        pages += ranking(words, meaning[: max(end, N_FUSED)], n_fitting, end)[end - k :]
    assert pages == whole
    if n_fitting == 0:
        assert whole[: len(words)] == words
