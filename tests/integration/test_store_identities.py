"""Vectors of earlier releases are found again under the identities of today, none is made anew."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from diptych.adapters.sqlite import identities
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.types import CollectionInfo, IdentitySource, NewRow, VersionRef

ONE = IdentitySource(VersionRef("m", 1, "a" * 64), "fp32", "exact")
TWO = IdentitySource(VersionRef("m", 2, "b" * 64), "fp32", "exact")
INT8 = IdentitySource(VersionRef("m", 2, "b" * 64), "int8", "exact")

Story = Callable[[SqliteStore], Awaitable[None]]
Legacy = dict[str, tuple[str, IdentitySource]]


def run(data_dir: Path, story: Story, legacy: Legacy | None = None) -> None:
    """Open the data folder, translate it, run the story and close it."""

    async def whole() -> None:
        try:
            await story(store)
        finally:
            await store.close()

    store = SqliteStore(data_dir)
    store.adopt_identities(legacy or {})
    asyncio.run(whole())


async def add(store: SqliteStore, collection: str, n_images: int, identity: str) -> list[int]:
    """Make a collection as earlier releases did; the vector of image n is full of n."""
    await store.create_collection(collection, "m")
    rows = [
        NewRow(f"i{n}", f"{n:064}", 1, "image/png", 1, 1, None, np.full(4, n, np.float32))
        for n in range(n_images)
    ]
    return [result.key for result in await store.put(collection, rows, identity=identity, replace=False)]


async def info(store: SqliteStore, name: str = "c") -> CollectionInfo:
    (found,) = [one for one in await store.collections() if one.name == name]
    return found


async def vectors(store: SqliteStore, identity: str, collection: str = "c") -> dict[int, float]:
    """Return the first number of each vector by key. None may be damaged."""
    found: dict[int, float] = {}
    async for keys, rows, damaged in store.embeddings(collection, identity):
        assert damaged == []
        found |= dict(zip(keys, rows[:, 0].tolist(), strict=True))
    return found


def known_identities(data_dir: Path) -> set[str]:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        return {identity for (identity,) in db.execute("SELECT identity FROM identities")}


def test_earlier_identity_is_renamed_and_its_collections_get_it(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await add(store, "c", 3, "legacy")
        await add(store, "unknown", 2, "of nobody")
        await store.create_collection("empty", "m")

    async def after(store: SqliteStore) -> None:
        assert await vectors(store, "today") == {1: 0, 2: 1, 3: 2}
        assert await store.missing("c", "today") == {}
        assert (await info(store)).identity == "today"
        assert [(await info(store, name)).identity for name in ("unknown", "empty")] == [None, None]
        assert await vectors(store, "of nobody", "unknown") == {4: 0, 5: 1}
        assert await store.identity_sources() == {"today": ONE}

    run(tmp_path, before)
    for _ in range(2):  # again without an effect
        run(tmp_path, after, {"legacy": ("today", ONE), "never seen": ("other", TWO)})
    assert known_identities(tmp_path) == {"today", "of nobody"}


def test_versions_that_make_the_same_vectors_become_one_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "CHUNK", 2)

    async def before(store: SqliteStore) -> None:
        keys = await add(store, "c", 7, "of one")
        await store.put_embeddings(keys[3:], np.full((4, 4), 9, np.float32), "of two")
        await store.delete_keys(keys[:1])
        await add(store, "d", 5, "of two")

    async def after(store: SqliteStore) -> None:
        assert await vectors(store, "today") == {2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}
        assert len(await vectors(store, "today", "d")) == 5
        assert [(await info(store, name)).identity for name in ("c", "d")] == ["today", "today"]

    run(tmp_path, before)
    run(tmp_path, after, {"of one": ("today", TWO), "of two": ("today", TWO)})
    assert known_identities(tmp_path) == {"today"}


def test_damaged_vector_stays_damaged_when_it_is_moved(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await add(store, "c", 3, "of one")
        await add(store, "d", 1, "today")

    async def after(store: SqliteStore) -> None:
        found = [(keys, damaged) async for keys, _, damaged in store.embeddings("c", "today")]
        assert found == [([1, 3], [2])]

    run(tmp_path, before)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db, db:
        db.execute("UPDATE embeddings SET embedding = ? WHERE key = 2", (bytes(16),))
    run(tmp_path, after, {"of one": ("today", ONE)})


def test_collection_gets_the_identity_that_most_of_its_images_have(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        keys = await add(store, "most", 3, "of one")
        await store.put_embeddings(keys[:2], np.ones((2, 4), np.float32), "of two")
        keys = await add(store, "newest", 3, "of one")
        await store.put_embeddings(keys, np.ones((3, 4), np.float32), "of two")
        await store.put_embeddings(keys, np.ones((3, 4), np.float32), "of nobody")
        await add(store, "of int8", 1, "of two in int8")

    async def after(store: SqliteStore) -> None:
        found = {one.name: one.identity for one in await store.collections()}
        assert found == {"most": "one", "newest": "two", "of int8": "int8"}

    run(tmp_path, before)
    legacy = {"of one": ("one", ONE), "of two": ("two", TWO), "of two in int8": ("int8", INT8)}
    run(tmp_path, after, legacy)


def test_collection_of_another_model_gets_no_identity_of_this_one(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await add(store, "c", 3, "legacy")

    async def after(store: SqliteStore) -> None:
        assert (await info(store)).identity is None

    run(tmp_path, before)
    other = IdentitySource(VersionRef("other", 1, "a" * 64), "fp32", "exact")
    run(tmp_path, after, {"legacy": ("today", other)})


def test_identity_that_a_collection_has_is_kept(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await add(store, "c", 3, "legacy")
        await store.set_identity("c", "other", VersionRef("m", 1, "1" * 64))

    async def after(store: SqliteStore) -> None:
        assert (await info(store)).identity == "other"

    run(tmp_path, before)
    run(tmp_path, after, {"legacy": ("today", ONE)})


def test_nothing_is_written_when_there_is_nothing_to_translate(tmp_path: Path) -> None:
    async def before(store: SqliteStore) -> None:
        await add(store, "c", 3, "legacy")
        await add(store, "unknown", 1, "of nobody")

    async def nothing(store: SqliteStore) -> None: ...

    run(tmp_path, before)
    legacy = {"legacy": ("today", ONE)}
    run(tmp_path, nothing, legacy)
    translated = (tmp_path / DATABASE).read_bytes()
    run(tmp_path, nothing, legacy)
    assert (tmp_path / DATABASE).read_bytes() == translated
