"""How the SQLite store shows a collection: what it reads, keeps, and leaves out of pages and fields."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite import browse
from diptych.adapters.sqlite import fields as sql
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.metadata.facets import FieldSummary
from diptych.core.collections.metadata.filters import Compare, Filter
from diptych.core.types import NewRow
from integration.data_folders import created

C = 1  # the number of the first collection


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    assert asyncio.run(created(store)) == C
    yield store
    store.close_now()


def put(store: SqliteStore, collection: int = C, *, replace: bool = True, **metadata: dict[str, Any]) -> None:
    """Add one row for each name, with its metadata."""
    rows = [
        NewRow(
            id=id,
            sha256=id.ljust(64, "0"),
            n_bytes=1,
            media_type="image/png",
            width=1,
            height=1,
            metadata=found,
            embedding=np.ones(4, np.float32),
            identity="i",
        )
        for id, found in metadata.items()
    ]
    asyncio.run(store.writer.put(collection, rows, identity="i", replace=replace))


def all_pages(store: SqliteStore, limit: int, filter: Filter) -> list[str]:
    """The ids on all pages, which have `limit` images each but for the last."""
    ids: list[str] = []
    while page := asyncio.run(store.rows.page(C, ids[-1] if ids else None, limit, filter)):
        ids += [record.id for record in page]
    return ids


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize("limit", [1, 7, 5_000])
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


def test_cancelled_summary_ends_and_is_not_kept(store: SqliteStore) -> None:
    put(store, **{f"i{n}": {"n": n} for n in range(3_000)})
    keys = np.arange(1, 3_001)
    begun = threading.Event()

    def stopped() -> bool:
        begun.set()
        return True

    assert store.threads.read_now(lambda db: sql.summarise(db, keys, 20, stopped)) is None
    assert begun.is_set()
    assert summary(store).n_images == 3_000
