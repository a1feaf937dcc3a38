"""What the store shows of a collection: pages of images that pass a filter, and the fields of metadata."""

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
from diptych.core.collections.metadata.facets import MAX_FIELDS, MAX_VALUE_CHARS, Field, FieldSummary
from diptych.core.collections.metadata.filters import Compare, Exists, Filter
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
            pipeline_identity="i",
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


def test_fields_have_their_kinds_counts_values_and_bounds(store: SqliteStore) -> None:
    put(
        store,
        a={"year": 2001, "place": "Rome", "tags": ["cat", "cat", "dog"], "seen": True},
        b={"year": 1999.5, "place": "Oslo", "tags": "cat", "seen": 1},
        c={"year": 2001.0, "place": "Rome", "where": {"city": "Bonn"}, "seen": None},
        d={"place": "Rome", "tags": []},
    )
    found = summary(store)
    assert (found.n_images, found.n_read, found.n_fields) == (4, 4, 5)
    assert found.fields == [
        Field("place", 4, ["text"], 2, [("Rome", 3), ("Oslo", 1)], None, None),
        Field("seen", 3, ["boolean", "null", "number"], 3, [(True, 1), (None, 1), (1, 1)], 1, 1),
        Field("tags", 3, ["list", "text"], 2, [("cat", 2), ("dog", 1)], None, None),
        Field("year", 3, ["number"], 2, [(2001, 2), (1999.5, 1)], 1999.5, 2001),
        Field("where", 1, ["object"], 0, [], None, None),
    ]
    assert [type(value) for value, _ in found.fields[1].values] == [bool, type(None), int]


def test_only_the_most_frequent_values_are_listed_and_all_are_counted(store: SqliteStore) -> None:
    put(store, **{f"i{n}": {"file": f"{n:02}.jpg", "n": min(n, 27)} for n in range(30)})
    file, n = summary(store, limit=2).fields
    assert (file.n_distinct, file.values) == (30, [("00.jpg", 1), ("01.jpg", 1)])
    assert (n.n_distinct, n.values, n.min, n.max) == (28, [(27, 3), (0, 1)], 0, 27)
    file, n = summary(store, limit=0).fields
    assert (file.n_distinct, n.n_distinct, n.values, n.max) == (30, 28, [], 27)


def test_fields_of_images_that_pass_a_filter(store: SqliteStore) -> None:
    put(store, a={"n": 1, "x": 1}, b={"n": 2, "y": 1}, c={"n": 3, "y": 2})
    found = summary(store, Compare(("n",), "gt", 1))
    assert (found.n_images, [(one.name, one.n_images) for one in found.fields]) == (2, [("n", 2), ("y", 2)])
    assert summary(store, Exists(("z",), True)) == FieldSummary(0, 0, 0, [])


def test_fields_inside_of_objects_have_the_paths_of_filters(store: SqliteStore) -> None:
    put(
        store,
        a={"camera": {"make": "X", "lens": {"mm": 35, "tags": ["old", "old"]}}, "n": 1},
        b={"camera": {"make": "X", "lens": {"mm": 50}}, "n.o": {"p": 1}},
        c={"camera": "none", "list": [{"make": "Y"}], "n": {"": 1, "a.b": 1, "c": True}},
    )
    found = summary(store, nested=True)
    assert {one.name: (one.n_images, one.values) for one in found.fields} == {
        "camera": (3, [("none", 1)]),
        "camera.make": (2, [("X", 2)]),
        "camera.lens": (2, []),
        "camera.lens.mm": (2, [(35, 1), (50, 1)]),
        "camera.lens.tags": (1, [("old", 1)]),
        "n": (2, [(1, 1)]),
        "n.c": (1, [(True, 1)]),
        "list": (1, []),
    }
    assert (found.n_fields, found.fields[0].kinds) == (8, ["object", "text"])
    for one in found.fields:
        assert summary(store, Exists(tuple(one.name.split(".")), True)).n_images == one.n_images
    assert [one.name for one in summary(store).fields] == ["camera", "n", "list", "n.o"]


def test_long_and_odd_texts_and_names_are_counted(store: SqliteStore) -> None:
    long = "x" * (MAX_VALUE_CHARS + 1)
    odd = {'q"\\\n': "\u20ac", "und.ü": "\ud800", "": "a\0b"}
    put(store, a={"t": long, **odd}, b={"t": long[:-1], **odd}, c={"t": long + "y"})
    found = {one.name: one for one in summary(store).fields}
    assert (found["t"].n_distinct, found["t"].values) == (2, [(long[:-1], 1)])
    assert found['q"\\\n'].values == [("\u20ac", 2)]
    assert [found[name].n_images for name in odd] == [2, 2, 2]
    assert found["und.ü"].n_distinct == 1


def test_only_the_most_common_fields_are_described(store: SqliteStore) -> None:
    put(store, a={f"f{n}": n for n in range(MAX_FIELDS + 5)}, b={"f204": 0})
    found = summary(store)
    assert (found.n_fields, len(found.fields), found.fields[0].name) == (MAX_FIELDS + 5, MAX_FIELDS, "f204")


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
