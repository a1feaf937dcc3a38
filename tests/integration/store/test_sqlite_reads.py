"""How the SQLite store shows a collection: what it reads, keeps, and leaves out of pages and fields."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite import browse
from diptych.adapters.sqlite.metadata import fields as sql
from diptych.adapters.sqlite.metadata import order
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.metadata.facets import FieldSummary
from diptych.core.collections.metadata.filters import Compare, Filter
from diptych.core.collections.metadata.ordering import Direction, OrderBy
from integration.data_folders import created
from integration.store_contract import row

C = 1  # the number of the first collection


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    assert asyncio.run(created(store)) == C
    yield store
    store.close_now()


def put(store: SqliteStore, collection: int = C, *, replace: bool = True, **metadata: dict[str, Any]) -> None:
    """Add one row for each name, with its metadata."""
    rows = [row(id, metadata=found) for id, found in metadata.items()]
    asyncio.run(store.writer.put(collection, rows, identity="i", replace=replace))


def all_pages(store: SqliteStore, limit: int, filter: Filter) -> list[str]:
    """The ids on all pages, which have `limit` images each but for the last."""
    ids: list[str] = []
    while page := asyncio.run(store.rows.page(C, ids[-1] if ids else None, limit, filter)):
        ids += [record.id for record in page]
    return ids


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("limit", [7, 5_000])
def test_pages_have_the_images_that_pass_in_the_order_of_their_ids(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, few: int, limit: int
) -> None:
    monkeypatch.setattr(browse, "FEW_KEYS", few)
    numbers = np.random.default_rng(0).permutation(2_500)
    put(store, **{f"i{n:04}": {"n": int(n)} for n in numbers})
    other = asyncio.run(created(store, "other"))
    put(store, other, **{f"i{n:04}": {"n": n} for n in range(5)})
    wanted = [f"i{n:04}" for n in range(40)]
    assert all_pages(store, limit, Compare(("n",), "lt", 40)) == wanted
    assert all_pages(store, limit, Compare(("n",), "lt", 0)) == []


def summary(
    store: SqliteStore, filter: Filter | None = None, limit: int = 20, *, nested: bool = False
) -> FieldSummary:
    return asyncio.run(store.rows.fields(C, filter, limit, nested=nested))


def test_of_many_images_some_from_everywhere_are_read(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MAX_READ", 11)
    put(store, **{f"i{n:03}": {"n": n} for n in range(101)})
    found = summary(store)
    assert (found.n_images, found.n_read, found.fields[0].n_images) == (101, 11, 11)
    assert [value for value, _ in found.fields[0].values] == list(range(0, 101, 10))


def test_summary_is_kept_until_an_image_of_the_collection_changes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_made, make = 0, sql.summarise

    def counted(*given: Any, **options: bool) -> FieldSummary | None:
        nonlocal n_made
        n_made += 1
        return make(*given, **options)

    monkeypatch.setattr(sql, "summarise", counted)
    other = asyncio.run(created(store, "other"))
    put(store, a={"n": 1})
    assert [summary(store).n_images, summary(store).n_images, n_made] == [1, 1, 1]
    assert [summary(store, limit=1).n_images, summary(store).n_images, n_made] == [1, 1, 2]

    put(store, other, replace=False, x={"n": 2})
    assert [summary(store).n_images, n_made] == [1, 2]
    put(store, replace=False, b={"n": 2})
    assert [summary(store).n_images, n_made] == [2, 3]
    asyncio.run(store.writer.patch(C, "a", {"n": 2}, 99))
    assert [summary(store).fields[0].values, n_made] == [[(2, 2)], 4]


def test_order_is_kept_until_an_image_of_the_collection_changes(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_made, make = 0, order.ordered_keys

    def counted(*given: Any) -> Any:
        nonlocal n_made
        n_made += 1
        return make(*given)

    def ids(direction: Direction = "asc", filter: Filter | None = None) -> list[str]:
        order_by = OrderBy(("n",), direction)
        return [one.id for one in asyncio.run(store.rows.ordered_page(C, order_by, None, 9, filter))]

    monkeypatch.setattr(order, "ordered_keys", counted)
    put(store, a={"n": 2}, b={"n": 1})
    assert [ids(), ids(), n_made] == [["b", "a"], ["b", "a"], 1]
    assert [ids("desc"), ids(filter=Compare(("n",), "lt", 2)), ids(), n_made] == [
        ["a", "b"],
        ["b"],
        ["b", "a"],
        3,
    ]
    put(store, replace=False, c={"n": 0})
    assert [ids(), n_made] == [["c", "b", "a"], 4]
    asyncio.run(store.writer.patch(C, "c", {"n": 3}, 99))
    assert [ids(), n_made] == [["b", "a", "c"], 5]


def test_oldest_orders_are_forgotten_when_they_hold_too_many_keys(six: SqliteStore) -> None:
    cache, made = FilterCache(max_keys=6), list[str]()

    def read(what: str) -> None:
        def make() -> Any:
            made.append(what)
            return np.arange(4)

        work = lambda db: cache.result(db, C, None, what, make=make, n_clears=cache.n_clears)  # noqa: E731
        assert len(six.threads.read_now(work)) == 4

    for what in ("a", "a", "b", "b", "a"):
        read(what)
    assert made == ["a", "b", "a"]


Change = Callable[[SqliteStore], Awaitable[Any]]


@pytest.fixture
def six(store: SqliteStore) -> SqliteStore:
    """Rows `i0` to `i5`, numbered by `n`."""
    put(store, **{f"i{n}": {"n": n} for n in range(6)})
    return store


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


def test_repeated_filter_reads_only_rows_that_were_added_since(six: SqliteStore, even: Even) -> None:
    async def story() -> None:
        assert await numbers(six, even) == [0, 2, 4]
        assert await numbers(six, even) == [0, 2, 4]
        assert even.seen == [0, 1, 2, 3, 4, 5]
        rows = [row(f"i{n}", metadata={"n": n}) for n in (8, 9)]
        await six.writer.put(C, rows, identity="i", replace=False)
        assert await numbers(six, even) == [0, 2, 4, 8]
        assert even.seen == [0, 1, 2, 3, 4, 5, 8, 9]

    asyncio.run(story())


async def replace_4(store: SqliteStore) -> None:
    await store.writer.put(C, [row("i4", "other", {"n": 6})], identity="i", replace=True)


async def replace_metadata_of_4(store: SqliteStore) -> None:
    await store.writer.put(C, [row("i4", metadata={"n": 5})], identity="i", replace=True)


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
    six: SqliteStore, even: Even, change: Change, expected: list[int]
) -> None:
    async def story() -> None:
        await numbers(six, even)
        await change(six)
        assert await numbers(six, even) == expected
        assert await numbers(six, even) == expected

    asyncio.run(story())


def test_change_beside_a_scan_is_seen_by_the_next_one(six: SqliteStore) -> None:
    async def story() -> None:
        even = Even()
        scan = asyncio.create_task(numbers(six, even))
        await asyncio.to_thread(even.reads_3.wait)
        await six.writer.patch(C, "i0", {"n": 1}, 99)
        even.go_on.set()
        await scan
        assert await numbers(six, even) == [2, 4]

    asyncio.run(story())


def test_oldest_filters_are_forgotten_when_they_hold_too_many_keys(six: SqliteStore) -> None:
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
        return len(six.threads.read_now(work))

    assert [found(1), found(2), found(1)] == [1, 2, 1]
    assert reads == []
    assert (found(3), len(reads)) == (3, 6)  # takes the place of the least recently used: 2
    assert (found(1), len(reads)) == (1, 0)
    assert (found(2), len(reads)) == (2, 6)
    assert (found(6), found(6), len(reads)) == (6, 6, 6)  # more than fits: read again each time
