"""The words of images in the SQLite store: which rows match, in what order, and that they agree with rows."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.metadata.words import parse_words
from diptych.core.types import Metadata, NewRow, VersionRef, WordMatches
from diptych.errors import NotFound
from support.word_index import disagreeing_words
from unit.core.collections.metadata.test_words import HOSTILE

REF = VersionRef("tiny", 1, "1111")
CONTENT_ID = "0123456789abcdef" * 2
Story = Callable[[SqliteStore, int], Coroutine[Any, Any, None]]


def row(id: str, metadata: Metadata | None, content: str = "") -> NewRow:
    sha256 = (content or id).encode().hex().ljust(64, "0")[:64]
    return NewRow(id, sha256, 1, "image/png", 1, 1, metadata, np.ones(2, np.float32))


def run(data_dir: Path, story: Story) -> None:
    """Run a story with one collection, which is made if there is none, and check its words afterwards."""

    async def whole() -> None:
        store = SqliteStore(data_dir)
        try:
            found = await store.catalogue.list()
            c = (
                found[0].number
                if found
                else (await store.catalogue.create("mine", "none", "first", REF)).number
            )
            await story(store, c)
        finally:
            await store.close()

    asyncio.run(whole())
    assert disagreeing_words(data_dir) == []


async def put(store: SqliteStore, c: int, *rows: NewRow, replace: bool = False) -> list[int]:
    written = await store.writer.put(c, rows, identity="first", replace=replace)
    return [result.key for result in written.results]


async def ids(store: SqliteStore, c: int, text: str) -> list[str]:
    """The ids of the rows that match, best first."""
    found = await store.words.matching(c, parse_words(text))
    records = await store.rows.by_key(found.keys.tolist())
    return [records[key].id for key in found.keys.tolist()]


async def indexed_all(store: SqliteStore, c: int) -> None:
    while await store.words.index_next(c):
        pass


def state(found: WordMatches) -> tuple[int, int, int]:
    return len(found.keys), found.n_indexed, found.n_images


def test_numbers_of_images_are_those_of_the_commit_that_is_read(tmp_path: Path) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        query = parse_words("x")
        for n_images in range(4):
            assert state(await store.words.matching(c, query)) == (n_images, n_images, n_images)
            await put(store, c, row(f"i{n_images}", {"n": "x"}))
        await store.writer.delete(c, await store.rows.keys(c, ["i1", "i2"]))
        assert state(await store.words.matching(c, query)) == (2, 2, 2)

    run(tmp_path, story)


def test_collections_have_words_of_their_own_until_they_are_dropped(tmp_path: Path) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        other = (await store.catalogue.create("other", "none", "first", REF)).number
        await put(store, c, row("a", {"n": "one"}))
        await put(store, other, row("b", {"n": "one"}))
        assert (await ids(store, c, "one"), await ids(store, other, "one")) == (["a"], ["b"])
        await store.catalogue.drop(other)
        await store.catalogue.clear(other, 100)
        with pytest.raises(NotFound):
            await store.words.matching(other, parse_words("one"))
        with pytest.raises(NotFound):
            await store.words.index_next(other)
        assert await ids(store, c, "one") == ["a"]

    run(tmp_path, story)
    assert tables(tmp_path) == {"words_1"}


def tables(data_dir: Path) -> set[str]:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        query = "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
        return {name for (name,) in db.execute(query)}


def test_other_fields_are_indexed_again_while_rows_are_written(tmp_path: Path) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        await put(store, c, *(row(f"i{n:03}", {"m": "one", "n": "two"}) for n in range(450)))
        await store.catalogue.change(c, "mine", "none", ("n", "x.y"))
        assert state(await store.words.matching(c, parse_words("two"))) == (0, 0, 450)
        await store.writer.patch(c, "i400", {"n": "three"}, 1000)  # its turn comes
        await store.writer.delete(c, await store.rows.keys(c, ["i000", "i449"]))
        await put(store, c, row("new", {"m": "one", "n": "two"}))
        assert await ids(store, c, "two") == ["new"]
        n_first = await store.words.index_next(c)
        assert 0 < n_first < 448
        assert (await store.catalogue.sizes(c))[c].n_unindexed == 448 - n_first
        await store.writer.patch(c, "i001", {"n": "four"}, 1000)  # it has had its turn
        await store.writer.delete(c, await store.rows.keys(c, ["i002"]))
        found = await store.words.matching(c, parse_words("two"))
        assert state(found) == (1 + n_first - 2, 1 + n_first - 1, 448)
        assert disagreeing_words(tmp_path) == []
        await indexed_all(store, c)
        assert state(await store.words.matching(c, parse_words("two"))) == (1 + 447 - 2, 448, 448)
        assert await ids(store, c, "three") == ["i400"]
        assert await ids(store, c, "four") == ["i001"]
        assert await ids(store, c, "one") == []
        assert (await store.catalogue.sizes())[c].n_unindexed == 0
        await store.catalogue.change(c, "renamed", "none", ("n", "x.y"))  # nothing to index again
        assert (await store.catalogue.sizes(c))[c].n_unindexed == 0
        (info,) = await store.catalogue.list()
        assert info.text_fields == ("n", "x.y")

    run(tmp_path, story)


def test_collection_is_created_with_its_fields(tmp_path: Path) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        made = await store.catalogue.create("few", "none", "first", REF, text_fields=("n",))
        await put(store, made.number, row(CONTENT_ID, {"m": "one", "n": "two"}))
        assert made.text_fields == ("n",)
        assert await ids(store, made.number, "one") == []
        assert await ids(store, made.number, "two") == [CONTENT_ID]

    run(tmp_path, story)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_stored_and_asked_for(tmp_path: Path, text: str) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        await put(store, c, row("a", {"n": text, text[:100]: ["needle"]}), row("b", {"n": "hay"}))
        await ids(store, c, text)
        await ids(store, c, f'"{text}"*')
        assert await ids(store, c, "needle") == ["a"]
        assert await ids(store, c, "hay") == ["b"]

    run(tmp_path, story)


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 42, 0), reason="FTS5 overwrites nothing before")
@pytest.mark.parametrize("by", ["delete", "patch", "replace", "drop", "fields"])
def test_deleted_words_are_overwritten(tmp_path: Path, by: str) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        await put(store, c, *(row(f"i{n}", {"n": f"hay{n}"}) for n in range(20)))
        await put(store, c, row("a", {"n": "secretword"}))
        if by == "delete":
            await store.writer.delete(c, await store.rows.keys(c, ["a"]))
        elif by == "patch":
            await store.writer.patch(c, "a", {"n": None}, 1000)
        elif by == "replace":
            await put(store, c, row("a", {"n": "other"}, "other"), replace=True)
        elif by == "drop":
            await store.catalogue.drop(c)
            await store.catalogue.clear(c, 100)
        else:
            await store.catalogue.change(c, "mine", "none", ())
            await store.writer.patch(c, "a", {"n": None}, 1000)

    run(tmp_path, story)
    assert b"secretword" not in (tmp_path / DATABASE).read_bytes()


def test_cancelled_call_stops_reading(tmp_path: Path) -> None:
    async def story(store: SqliteStore, c: int) -> None:
        await put(
            store, c, *(row(f"i{n}", {"n": " ".join(f"w{m}x" for m in range(100))}) for n in range(300))
        )
        call = asyncio.create_task(store.words.matching(c, parse_words("w* w1* w2* w3* w4* w5* w6* w7*")))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len((await store.words.matching(c, parse_words("w1x"))).keys) == 300

    run(tmp_path, story)


def test_search_by_words_waits_for_the_one_before_and_nobody_else_waits(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def long_scan(_: sqlite3.Connection) -> None:
        begun.set()
        ended.wait()

    async def story(store: SqliteStore, c: int) -> None:
        await put(store, c, row("a", {"n": "cat"}))
        first = asyncio.create_task(store.threads.scan(long_scan))
        try:
            await asyncio.to_thread(begun.wait)
            cancelled, last = (
                asyncio.create_task(store.words.matching(c, parse_words("cat"))) for _ in range(2)
            )
            assert await asyncio.gather(*(store.rows.keys(c) for _ in range(20))) == [[1]] * 20
            assert not (cancelled.done() or last.done())
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        finally:
            ended.set()
        await first
        assert len((await last).keys) == 1

    run(tmp_path, story)


def change(data_dir: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db, db:
        for statement in statements:
            db.execute(statement)


async def three_rows(store: SqliteStore, c: int) -> None:
    await put(store, c, *(row(id, {"n": f"word {id * 3}"}) for id in "abd"))


UNINDEXED = "UPDATE collections SET unindexed_after = 0, unindexed_until = 9"


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM words_1_content WHERE id = 2"],
        ["DELETE FROM words_1 WHERE rowid = 2"],
        ["INSERT INTO words_1 (rowid, name) VALUES (99, 'word')"],
        ["DROP TABLE words_1"],
        ["UPDATE words_1_data SET block = zeroblob(length(block)) WHERE id > 10"],
    ],
)
def test_index_that_disagrees_with_the_rows_is_made_again(
    tmp_path: Path, statements: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, three_rows)
    change(tmp_path, *statements)

    async def story(store: SqliteStore, c: int) -> None:
        assert state(await store.words.matching(c, parse_words("word"))) == (0, 0, 3)
        await indexed_all(store, c)
        assert {*await ids(store, c, "word")} == {*"abd"}

    caplog.set_level("INFO")
    run(tmp_path, story)
    again = "" if "DROP TABLE words_1" in statements else " again: the index is damaged"
    assert f"the words of collection mine are indexed{again}\n" in caplog.text


@pytest.mark.parametrize("damage", ["CAST('{' AS TEXT)", "CAST(x'7bff' AS TEXT)", "'[\"x\"]'"])
def test_damaged_row_does_not_keep_others_from_being_indexed(tmp_path: Path, damage: str) -> None:
    run(tmp_path, three_rows)
    change(tmp_path, f"UPDATE images SET metadata = {damage} WHERE key = 2", "DROP TABLE words_1", UNINDEXED)

    async def whole() -> None:
        store = SqliteStore(tmp_path)
        try:
            await indexed_all(store, 1)
            found = await store.words.matching(1, parse_words("word"))
            assert found.keys.tolist() == [1, 3]
            assert (found.n_indexed, found.n_images) == (3, 3)
            found = await store.words.matching(1, parse_words("b"))
            assert found.keys.tolist() == [2]
            await store.writer.delete(1, [2])
            await put(store, 1, row("b", {"n": "word"}))
            assert len((await store.words.matching(1, parse_words("word"))).keys) == 3
        finally:
            await store.close()

    asyncio.run(whole())
    assert disagreeing_words(tmp_path) == []


def test_read_only_store_finds_words(tmp_path: Path) -> None:
    run(tmp_path, three_rows)

    async def whole() -> None:
        store = SqliteStore(tmp_path, read_only=True)
        try:
            assert await ids(store, 1, "word bbb") == ["b"]
        finally:
            await store.close()

    asyncio.run(whole())


def test_disagreeing_words_are_seen_by_these_tests(tmp_path: Path) -> None:
    run(tmp_path, three_rows)
    change(tmp_path, "UPDATE words_1 SET other = 'else' WHERE rowid = 2")
    assert disagreeing_words(tmp_path) == ["mine/b"]
    change(tmp_path, "UPDATE collections SET unindexed_until = 1")  # its turn has not come
    assert disagreeing_words(tmp_path) == ["mine", "mine/b"]
