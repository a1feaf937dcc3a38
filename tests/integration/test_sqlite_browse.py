"""What the store shows of a collection: pages of images that pass a filter."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite import browse
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.filters import Compare, Filter
from diptych.core.types import NewRow
from diptych.errors import NotFound


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path)
    asyncio.run(store.create_collection("c", "m"))
    yield store
    store.close_now()


def put(store: SqliteStore, collection: str = "c", **metadata: dict[str, Any]) -> None:
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
            pipeline_identity="i",
        )
        for id, found in metadata.items()
    ]
    asyncio.run(store.put(collection, rows, identity="i", replace=True))


def all_pages(store: SqliteStore, limit: int, filter: Filter) -> list[str]:
    """The ids on all pages, which have `limit` images each but for the last."""
    ids: list[str] = []
    while page := asyncio.run(store.page("c", ids[-1] if ids else None, limit, filter)):
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
    asyncio.run(store.create_collection("other", "m"))
    put(store, "other", **{f"i{n:04}": {"n": n} for n in range(5)})
    wanted = [f"i{n:04}" for n in range(40)]
    assert all_pages(store, limit, Compare(("n",), "lt", 40)) == wanted
    assert all_pages(store, limit, Compare(("n",), "lt", 0)) == []


def test_page_shows_changes_at_once(store: SqliteStore) -> None:
    put(store, a={"n": 1}, b={"n": 1})
    one = Compare(("n",), "lte", 1)
    assert all_pages(store, 9, one) == ["a", "b"]
    put(store, a={"n": 2}, c={"n": 0})
    assert all_pages(store, 9, one) == ["b", "c"]
    with pytest.raises(NotFound):
        asyncio.run(store.page("none", None, 9, one))
