"""Repeated filters: the store remembers which rows pass, and answers as if it had read all of them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.filter_cache import FilterCache
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.metadata.filters import Filter
from diptych.core.types import NewRow
from integration.data_folders import created

C = 1  # the number of the first collection

Change = Callable[[SqliteStore], Awaitable[Any]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Rows `i0` to `i5` of the collection `c`, numbered by `n`."""
    store = SqliteStore(tmp_path)

    async def fill() -> None:
        assert await created(store) == C
        await store.writer.put(C, [row(f"i{n}", n) for n in range(6)], identity="i", replace=False)

    asyncio.run(fill())
    yield store
    store.close_now()


def row(id: str, n: Any, content: str = "") -> NewRow:
    return NewRow(
        id=id,
        sha256=(content or id).ljust(64, "0"),
        n_bytes=1,
        media_type="image/png",
        width=1,
        height=1,
        metadata={"n": n},
        embedding=np.ones(4, np.float32),
        identity="i",
    )


@dataclass(frozen=True)
class Even:
    """Passes even `n`, and notes what it reads. It may be held while it reads 3."""

    seen: list[int] = field(default_factory=list, repr=False, compare=False)
    reads_3: threading.Event = field(default_factory=threading.Event, repr=False)
    go_on: threading.Event = field(default_factory=threading.Event, repr=False)

    def matches(self, metadata: dict[str, Any]) -> bool:
        self.seen.append(metadata["n"])
        if metadata["n"] == 3:
            self.reads_3.set()
            assert self.go_on.wait(10)
        return bool(metadata["n"] % 2 == 0)


async def numbers(store: SqliteStore, filter: Filter, c: int = C) -> list[int]:
    """The `n` of the rows that pass, in order of their keys."""
    keys = (await store.filtered.passing(c, filter)).keys.tolist()
    assert keys == sorted(keys)
    records = await store.rows.by_key(keys)
    return [records[key].metadata["n"] for key in keys]


@pytest.fixture
def even() -> Even:
    filter = Even()
    filter.go_on.set()
    return filter


def test_repeated_filter_reads_only_rows_that_were_added_since(store: SqliteStore, even: Even) -> None:
    async def story() -> None:
        assert await numbers(store, even) == [0, 2, 4]
        assert await numbers(store, even) == [0, 2, 4]
        assert even.seen == [0, 1, 2, 3, 4, 5]
        await store.writer.put(C, [row("i8", 8), row("i9", 9)], identity="i", replace=False)
        assert await numbers(store, even) == [0, 2, 4, 8]
        assert even.seen == [0, 1, 2, 3, 4, 5, 8, 9]

    asyncio.run(story())


async def replace_4(store: SqliteStore) -> None:
    await store.writer.put(C, [row("i4", 6, "other")], identity="i", replace=True)


async def replace_metadata_of_4(store: SqliteStore) -> None:
    await store.writer.put(C, [row("i4", 5)], identity="i", replace=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda store: store.writer.patch(C, "i1", {"n": 10}, 99), [0, 10, 2, 4]),
        (lambda store: store.writer.delete(C, [3]), [0, 4]),
        (lambda store: store.writer.delete(C, [1, 2]), [2, 4]),
        (replace_4, [0, 2, 6]),
        (replace_metadata_of_4, [0, 2]),
    ],
)
def test_changes_of_rows_are_seen_at_once(
    store: SqliteStore, even: Even, change: Change, expected: list[int]
) -> None:
    async def story() -> None:
        await numbers(store, even)
        await change(store)
        assert await numbers(store, even) == expected
        assert await numbers(store, even) == expected

    asyncio.run(story())


def test_collection_that_takes_the_name_of_another_has_its_own_rows(store: SqliteStore, even: Even) -> None:
    async def story() -> None:
        d = await created(store, "d")
        await store.writer.put(d, [row("x", 20)], identity="i", replace=False)
        assert (await numbers(store, even), await numbers(store, even, d)) == ([0, 2, 4], [20])
        await store.catalogue.drop(d)
        await store.catalogue.change(C, "d", "original")
        assert await numbers(store, even) == [0, 2, 4]

    asyncio.run(story())


def test_change_beside_a_scan_is_seen_by_the_next_one(store: SqliteStore) -> None:
    async def story() -> None:
        even = Even()
        scan = asyncio.create_task(numbers(store, even))
        await asyncio.to_thread(even.reads_3.wait)
        await store.writer.patch(C, "i0", {"n": 1}, 99)
        even.go_on.set()
        await scan
        assert await numbers(store, even) == [2, 4]

    asyncio.run(story())


def test_oldest_filters_are_forgotten_when_they_hold_too_many_keys(store: SqliteStore) -> None:
    cache, reads = FilterCache(max_keys=6), list[int]()

    @dataclass(frozen=True)
    class Below:
        bound: int

        def matches(self, metadata: dict[str, Any]) -> bool:
            reads.append(self.bound)
            return bool(metadata["n"] < self.bound)

    def found(bound: int) -> int:
        reads.clear()
        work = lambda db: cache.matching_keys(db, C, Below(bound), lambda: False, cache.n_clears)  # noqa: E731
        return len(store.threads.read_now(work))

    assert [found(1), found(2), found(1)] == [1, 2, 1]
    assert reads == []
    assert (found(3), len(reads)) == (3, 6)  # takes the place of the least recently used: 2
    assert (found(1), len(reads)) == (1, 0)
    assert (found(2), len(reads)) == (2, 6)
    assert (found(6), found(6), len(reads)) == (6, 6, 6)  # more than fits: read again each time
