"""What one collection finds by words, where store and index may be at different changes."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.collections.ranking.searcher import Candidates, IndexSearcher, SearchTarget
from diptych.core.types import PassingKeys, WordMatches

FILTER = parse_filter({"n": 1})
INDEXED = (1, 2, 3, 4)
REPLACED_AT = 5  # the change by which the index last replaced an image


def as_keys(*keys: int) -> Any:
    return np.array(keys, np.int64)


class FakeStore:
    """Rows that pass any filter."""

    def __init__(self, passing: Sequence[int]) -> None:
        self._passing = passing

    async def passing(self, c: int, filter: Any) -> PassingKeys:
        return PassingKeys(as_keys(*self._passing), REPLACED_AT)

    async def resolved(self, c: int, filter: Any) -> Any:
        return filter

    async def keys(self, c: int, ids: Sequence[str]) -> list[int]:
        return [int(id) for id in ids]


class FakeIndex:
    """Has INDEXED at first."""

    def __init__(self) -> None:
        self.keys = INDEXED

    async def search(self, query: Any, k: int, allowed: Any, *, exact: bool) -> Any:
        found = [key for key in self.keys if allowed is None or key in allowed]
        return as_keys(*found), np.ones(len(found), np.float32)


async def search(
    *,
    carriers: Sequence[int] = (4, 2, 1),
    passing: Sequence[int] = INDEXED,
    change: int = REPLACED_AT,
    filter: Any = None,
    without: Sequence[str] = (),
    unindexed: Sequence[int] = (),
    written_elsewhere: Sequence[int] = (),
) -> Candidates:
    store: Any = FakeStore(passing)
    matches = WordMatches(as_keys(*carriers), np.arange(len(carriers), 0, -1.0), change, 4, 4)
    vectors = FakeIndex()

    async def catch_up() -> None:
        vectors.keys += tuple(written_elsewhere)

    index: Any = SimpleNamespace(
        vectors=vectors, newest_key=9, replaced_at=REPLACED_AT, unindexed=set(unindexed)
    )
    collection: Any = SimpleNamespace(number=1, n_images=4, require_not_dropped=lambda: None)
    target = SearchTarget(collection, index, without, matches)
    searcher = IndexSearcher(store, store, store, catch_up)
    return await searcher.search(target, np.ones(1, np.float32), 4, filter)


async def test_only_images_that_may_be_hits_are_found_by_words() -> None:
    assert (await search()).words.keys.tolist() == [4, 2, 1]
    assert (await search(filter=FILTER, passing=(1, 3, 4))).words.keys.tolist() == [4, 1]
    found = await search(without=["4"], unindexed=[1])  # an image of the query; one without a vector
    assert (found.words.keys.tolist(), found.words.scores.tolist()) == ([2], [2.0])
    assert found.is_complete


@pytest.mark.parametrize("filter", [None, FILTER])
async def test_words_of_another_change_than_that_of_the_index_may_miss_an_image(filter: Any) -> None:
    assert (await search(filter=filter)).is_complete
    assert not (await search(filter=filter, change=REPLACED_AT - 1)).is_complete
    assert not (await search(filter=filter, carriers=(10,))).is_complete  # it replaced one that passes


async def test_index_has_what_the_filter_read_of_writes_of_other_servers() -> None:
    found = await search(filter=FILTER, passing=(1, 7), written_elsewhere=[7], carriers=())
    assert found.keys.tolist() == [1, 7]
