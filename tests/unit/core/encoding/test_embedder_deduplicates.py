from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.encoding.embedder import deduplicated, first_of_each
from diptych.errors import EncoderFailed


def no_stop(stop: Any) -> None:
    pass


def image(seed: int, *, changed_at: int | None = None) -> Any:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
    if changed_at is not None:
        pixels.flat[changed_at] ^= 1
    return pixels


def test_equal_items_are_encoded_once_and_all_get_their_row() -> None:
    asked: list[int] = []

    def encode(items: Any, on_start: Any = None) -> Any:
        asked.append(len(items))
        return np.array([[item.sum()] for item in items], np.float32)

    items = [image(1), image(2), image(1), image(1), image(3)]
    rows = deduplicated(encode)(items, no_stop)
    assert asked == [3]
    np.testing.assert_array_equal(rows, encode(items))


@given(st.integers(0, 48 * 48 * 3 - 1))
def test_one_changed_value_anywhere_is_another_item(place: int) -> None:
    assert first_of_each([image(1), image(1, changed_at=place)]) == ([0, 1], [0, 1])


def test_shape_is_part_of_an_item() -> None:
    assert first_of_each([np.zeros(4, np.int32), np.zeros(5, np.int32)])[0] == [0, 1]


@given(st.lists(st.integers(0, 3), max_size=12))
def test_groups_are_those_of_equality(numbers: list[int]) -> None:
    firsts, places = first_of_each([np.full(3, n, np.int32) for n in numbers])
    assert [numbers[firsts[place]] for place in places] == numbers
    assert len(firsts) == len(set(numbers))


@pytest.mark.parametrize("n_rows", [0, 1, 3, 9])  # 3: as many as all items, but not as it was asked for
def test_wrong_number_of_rows_is_a_failure(n_rows: int) -> None:
    encode = deduplicated(lambda items, on_start: np.zeros((n_rows, 2), np.float32))
    with pytest.raises(EncoderFailed, match=f"{n_rows} rows to 2 items"):
        encode([image(1), image(1), image(2)], no_stop)
