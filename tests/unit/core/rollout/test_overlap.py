"""Overlap@10 of two indexes, and the choice of queries."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from diptych.core.rollout.overlap import (
    ComparedHits,
    ComparedQuery,
    compare_hits,
    mean_overlap,
    most_changed,
    sample,
)
from diptych.core.serving.live_index import LiveIndex

ROW = np.ones(2, np.float32)


class RankedIndex:
    """Finds the same keys for every query."""

    def __init__(self, *keys: int) -> None:
        self.vectors = self
        self._keys = keys

    async def search(self, query: Any, k: int, allowed: Any) -> Any:
        found = [key for key in self._keys if allowed is None or key in allowed][:k]
        return np.array(found, np.int64), np.zeros(len(found), np.float32)


def compared(old: Any, new: Any, *, key: int | None = None, allowed: Any = None) -> ComparedHits:
    query = ComparedQuery(ROW, ROW, None if key is not None else "a text", key)
    sides = (cast(LiveIndex, RankedIndex(*one)) for one in (old, new))
    return asyncio.run(compare_hits(query, *sides, allowed))


def test_overlap_is_the_share_of_the_first_ten_that_both_find() -> None:
    assert compared(range(20), range(20)).overlap == 1
    assert compared(range(20), range(10)[::-1]).overlap == 1
    assert compared(range(20), range(7, 30)).overlap == pytest.approx(0.3)
    assert compared(range(20), range(10, 30)).overlap == 0


def test_small_collections_are_judged_on_what_they_have() -> None:
    assert compared([1, 2], [2, 1]).overlap == 1
    assert compared([1, 2, 3, 4], [1, 2]).overlap == pytest.approx(0.5)
    assert compared([], []).overlap == 1


def test_an_image_as_query_does_not_find_itself() -> None:
    hits = compared([3, *range(10, 30)], range(30), key=3)
    assert hits.old == list(range(10, 20))
    assert hits.new == [0, 1, 2, *range(4, 11)]


def test_only_allowed_images_are_compared() -> None:
    hits = compared([1, 2, 3], [4, 3, 2], allowed={2, 3})
    assert (hits.old, hits.new, hits.overlap) == ([2, 3], [3, 2], 1)


def test_the_mean_is_over_all_queries_and_needs_one() -> None:
    assert mean_overlap([compared([1], [1]), compared([1], [2])]) == pytest.approx(0.5)
    assert mean_overlap([]) is None


def test_the_queries_that_change_most_come_first_and_unchanged_ones_never() -> None:
    same, turned, half, none = (
        compared([1, 2], [1, 2]),
        compared([1, 2], [2, 1]),
        compared([1, 2], [1, 3]),
        compared([1, 2], [3, 4]),
    )
    assert most_changed([same, turned, half, none], 9) == [none, half, turned]
    assert most_changed([same, turned, half, none], 1) == [none]
    other_first = compared([1, 2], [3, 1])
    assert most_changed([half, other_first], 9) == [other_first, half]


def test_a_sample_depends_on_the_keys_alone_and_hardly_on_other_images() -> None:
    keys = np.arange(1, 1001)
    chosen = sample(keys, 100)
    assert len(set(chosen)) == 100
    assert sample(keys[::-1], 100) == chosen
    assert abs(np.mean(chosen) - 500) < 100  # spread over all
    more = sample(np.arange(1, 1011), 100)
    assert len(set(chosen) & set(more)) >= 95
    assert sorted(sample(keys[:5], 100)) == [1, 2, 3, 4, 5]
    assert sample(keys[:0], 100) == []
