"""Damage inside of a row that leaves the database sound: named, without loss of other rows, and mended."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite_schema import MIGRATIONS
from diptych.adapters.sqlite_store import DATABASE
from diptych.cli import main
from diptych.core.filters import Compare, Eq, Exists, Not
from diptych.core.types import CollectionChange, NewImage, NewVector, VectorOrigin
from diptych.errors import CorruptStore
from integration.store_parts import Opened, tiny_png
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

PAGE = 4_096
LONG = "".join(f"{n:05}" for n in range(1_800))  # 9 kB, which takes pages of its own
Story = Callable[[Opened], Awaitable[None]]


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def tell(model_repo: Path, tmp_path: Path) -> Callable[[Story], None]:
    """Run a story over the data folder, opened for it and closed after it."""

    def run(story: Story) -> None:
        async def whole() -> None:
            async with Opened(model_repo, tmp_path, 1) as opened:
                await story(opened)

        asyncio.run(whole())

    return run


@pytest.fixture
def filled(tell: Callable[[Story], None], tmp_path: Path) -> Path:
    """Three images; "b" has long metadata."""

    async def add(opened: Opened) -> None:
        for n, id in enumerate("abc"):
            outcome = await opened.add(
                "default", tiny_png(n), id, {"year": 2000 + n, "words": LONG if id == "b" else "short"}
            )
            assert outcome.status == "created"

    tell(add)
    return tmp_path


def vector_of(data_dir: Path, id: str) -> bytes:
    query = "SELECT embedding FROM embeddings JOIN images USING (key) WHERE id = ?"
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        (vector,) = db.execute(query, (id,)).fetchone()
    return bytes(vector)


def overwrite(data_dir: Path, old: bytes, new: bytes, n_times: int = 1) -> None:
    """In the file of the database, where `old` stands so often."""
    content = (data_dir / DATABASE).read_bytes()
    assert content.count(old) == n_times
    assert len(old) == len(new)
    (data_dir / DATABASE).write_bytes(content.replace(old, new))


def flip_vector(data_dir: Path, id: str) -> None:
    """The highest bit of an exponent of one of its numbers: cosines become enormous."""
    vector = vector_of(data_dir, id)
    overwrite(data_dir, vector, vector[:3] + bytes([vector[3] ^ 0x40]) + vector[4:])


def flip_metadata(data_dir: Path) -> None:
    """Of "b": one bit, and it is no JSON any more."""
    overwrite(data_dir, b'{"year":2001', b'z"year":2001')


async def settled(opened: Opened) -> None:
    """What can be embedded again is."""
    for _ in range(1_000):
        if (await opened.collections.get("default")).state == "ready":
            return
        await asyncio.sleep(0.01)


async def n_damaged(opened: Opened) -> int:
    return (await opened.collections.stats("default")).n_damaged


async def query_of(opened: Opened) -> Any:
    return await opened.collections.embedding_of("default", "a")


def test_flipped_bit_of_a_vector_is_known_at_the_start_and_its_image_is_embedded_again(
    filled: Path, tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = vector_of(filled, "b")
    flip_vector(filled, "b")

    async def story(opened: Opened) -> None:
        assert "1 images are damaged in the database" in caplog.text
        await settled(opened)
        hits = await opened.collections.search("default", await query_of(opened), k=10)
        assert sorted(hit.id for hit in hits) == ["a", "b", "c"]
        assert all(abs(hit.cosine) <= 1.001 for hit in hits)
        assert await n_damaged(opened) == 0

    tell(story)
    assert vector_of(filled, "b") == before


def test_damaged_vector_without_an_image_is_left_out_and_mended_by_adding_it_again(
    tell: Callable[[Story], None], tmp_path: Path
) -> None:
    rows = np.eye(EMBED_DIM, dtype=np.float32)[:3]
    items = [NewVector(row, id) for row, id in zip(rows, "abc", strict=True)]
    origin = VectorOrigin(TINY, 1)

    async def fill(opened: Opened) -> None:
        await opened.collections.add_vectors("default", origin, items)

    tell(fill)
    flip_vector(tmp_path, "b")

    async def story(opened: Opened) -> None:
        await settled(opened)
        assert await opened.ids(rows[0]) == ["a", "c"]
        assert await opened.listed() == ["a", "b", "c"]  # its row is whole
        assert await n_damaged(opened) == 1
        with pytest.raises(CorruptStore, match="the vector of row 2 is damaged"):
            await opened.collections.embedding_of("default", "b")
        added = await opened.collections.add_vectors("default", origin, items)
        assert [one.status for one in added.outcomes] == ["unchanged"] * 3
        assert await opened.ids(rows[1]) == ["b", "a", "c"]
        assert await n_damaged(opened) == 0

    tell(story)

    async def reopened(opened: Opened) -> None:
        assert await n_damaged(opened) == 0

    tell(reopened)


def one_page(data_dir: Path) -> None:
    """All of a page in the middle of the long metadata, which are JSON as before."""
    content = bytearray((data_dir / DATABASE).read_bytes())
    page = content.index(LONG[4_500:4_600].encode()) // PAGE * PAGE
    content[page + 4 : page + PAGE] = b"z" * (PAGE - 4)  # what precedes is the number of the next page
    (data_dir / DATABASE).write_bytes(content)


@pytest.mark.parametrize("damage", [flip_metadata, one_page])
def test_damaged_metadata_is_named_and_keeps_no_other_image_from_being_found(
    filled: Path, tell: Callable[[Story], None], damage: Callable[[Path], None], caplog: Any
) -> None:
    damage(filled)

    async def story(opened: Opened) -> None:
        assert "damaged in the database, themselves or their vectors: rows 2" in caplog.text
        await settled(opened)
        collections = opened.collections
        for call in (
            lambda: collections.get_image("default", "b"),
            lambda: collections.original("default", "b"),
            lambda: collections.thumbnail("default", "b", 64),
            lambda: collections.patch("default", "b", {"x": 1}),
        ):
            with pytest.raises(CorruptStore, match="image 'b' in collection 'default' is damaged"):
                await call()
        assert await n_damaged(opened) == 1
        assert await opened.listed() == ["a", "c"]
        assert (await collections.list_images("default", None, 1))[1] == "a"  # there is a page more
        query = await query_of(opened)
        assert sorted(await opened.ids(query)) == ["a", "c"]
        for filter, ids in (
            (Compare(("year",), "gte", 2001), ["c"]),
            (Not(Eq(("year",), 2000)), ["c"]),
            (Exists(("year",), False), []),
        ):
            assert await opened.ids(query, filter=filter) == ids
        assert [image.id for image in await collections.find_images("default", ["a", "b"])] == ["a"]

    tell(story)


def test_damaged_image_is_replaced_with_its_metadata_or_deleted(
    filled: Path, tell: Callable[[Story], None]
) -> None:
    flip_metadata(filled)

    async def story(opened: Opened) -> None:
        await settled(opened)
        item = NewImage(tiny_png(1), "b", {"year": 1})
        for replace, again in ((False, item), (True, NewImage(tiny_png(1), "b"))):
            (kept,) = (await opened.collections.add_many("default", [again], replace=replace)).outcomes
            assert kept.status == "failed"
            assert isinstance(kept.error, CorruptStore)
        (added,) = (await opened.collections.add_many("default", [item], replace=True)).outcomes
        assert added.status == "replaced"
        assert (await opened.collections.get_image("default", "b")).metadata == {"year": 1}
        assert await n_damaged(opened) == 0
        assert (await opened.collections.original("default", "b"))[0] == tiny_png(1)
        assert sorted(await opened.ids(await query_of(opened))) == ["a", "b", "c"]

    tell(story)

    async def reopened(opened: Opened) -> None:
        assert sorted(await opened.ids(await query_of(opened))) == ["a", "b", "c"]
        await opened.collections.delete("default", "b")
        assert len(opened.files()) == 2

    tell(reopened)


def test_damaged_image_can_be_deleted(filled: Path, tell: Callable[[Story], None]) -> None:
    flip_metadata(filled)

    async def story(opened: Opened) -> None:
        await opened.collections.delete("default", "b")
        assert await n_damaged(opened) == 0
        assert (await opened.collections.get("default")).n_images == 2
        assert len(opened.files()) == 2

    tell(story)


@pytest.mark.parametrize("text", ['{"year":', '{"year": 2000}'])
def test_damage_that_comes_while_it_is_served_ends_no_filter_and_tells_no_lie(
    filled: Path, tell: Callable[[Story], None], text: str
) -> None:
    async def story(opened: Opened) -> None:
        query = await query_of(opened)
        with closing(sqlite3.connect(filled / DATABASE, isolation_level=None)) as db:
            db.execute("UPDATE images SET metadata = ? WHERE id = 'b'", (text,))
        filter = Compare(("year",), "lte", 2001)
        deleted = await opened.collections.delete_matching(
            "default", Compare(("year",), "lt", 2002), lacking=False, preview=False
        )
        assert (deleted.n_images, await opened.listed()) == (1, ["c"])
        assert await opened.ids(query, filter=filter) == []
        assert await n_damaged(opened) == 1
        with pytest.raises(CorruptStore, match="image 'b'"):
            await opened.collections.get_image("default", "b")

    tell(story)


def test_images_that_are_damaged_while_they_are_served_make_room_for_the_next_best(
    tell: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(opened: Opened) -> None:
        items = [NewImage(tiny_png(n), f"i{n}", {"n": n}) for n in range(8)]
        await opened.collections.add_many("default", items)
        query = (await opened.embedder.embed_text("red")).embedding
        ranked = await opened.ids(query)
        with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as db:
            damaged = json.dumps(ranked[:5])  # more than a search is made anew beside writes
            db.execute(
                "UPDATE images SET width = 1000 WHERE id IN (SELECT value FROM json_each(?))", [damaged]
            )
        filter = Exists(("n",), True)
        assert await opened.ids(query, k=1, filter=filter) == ranked[5:6]
        assert await opened.ids(query, k=1, offset=1) == ranked[6:7]
        assert await opened.ids(query) == ranked[5:]
        info = await opened.collections.get("default")
        assert (info.n_images, info.n_embedded, info.state) == (8, 3, "ready")
        assert await n_damaged(opened) == 5
        again = NewImage(items[0].payload, ranked[0], {})
        (outcome,) = (await opened.collections.add_many("default", [again], replace=True)).outcomes
        assert outcome.status == "replaced"
        await opened.collections.delete("default", ranked[1])
        info = await opened.collections.get("default")
        assert (info.n_images, info.n_embedded) == (7, 4)

    tell(story)


def test_vectors_of_damaged_images_are_left_out_when_the_index_is_filled(
    filled: Path, tell: Callable[[Story], None]
) -> None:
    flip_metadata(filled)

    async def story(opened: Opened) -> None:
        (engine,) = opened.engines.loaded()
        chunks = [keys async for keys, _ in opened.records.embeddings("default", engine.model.identity)]
        assert chunks == [[1, 3]]

    tell(story)


def test_preview_counts_and_names_what_the_deletion_deletes_of_damaged_images(
    filled: Path, tell: Callable[[Story], None]
) -> None:
    flip_metadata(filled)

    async def story(opened: Opened) -> None:
        collections, any_year = opened.collections, Exists(("year",), True)
        await collections.change("default", CollectionChange(precision="int8"))
        await settled(opened)
        lacking = await collections.delete_matching("default", None, lacking=True, preview=True)
        assert (lacking.n_images, lacking.ids) == (1, ("b",))
        both = await collections.delete_matching("default", any_year, lacking=True, preview=True)
        assert (both.n_images, both.ids) == (0, ())
        with closing(sqlite3.connect(filled / DATABASE, isolation_level=None)) as db:
            db.execute("UPDATE images SET width = 1000 WHERE id = 'a'")  # nobody knows of it yet
        passing = await collections.delete_matching("default", any_year, lacking=False, preview=True)
        assert (passing.n_images, passing.ids) == (1, ("c",))
        assert (
            await collections.delete_matching("default", any_year, lacking=False, preview=False)
        ).n_images == 1
        assert (await collections.delete_matching("default", None, lacking=True, preview=False)).n_images == 1
        assert (await collections.get("default")).n_images == 1

    tell(story)


def test_backup_and_restore_name_what_is_damaged_inside_of_the_database(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("backups")
    target, restored = folder / "backup", folder / "restored"
    commands: list[list[str]] = [
        ["backup", str(target), "--data-dir", str(filled)],
        ["backup", str(target), "--verify"],
        ["restore", str(target), "--data-dir", str(restored)],
    ]
    assert main(commands[0]) == 0
    flip_metadata(filled)
    flip_vector(filled, "c")
    capsys.readouterr()
    for command in commands:
        assert main(command) == 1
        told = capsys.readouterr().err
        assert "images that are damaged in the database, as they were in the data folder: 2\n" in told
        assert "default/b: its row is damaged\n" in told
        assert "default/c: its vector is damaged\n" in told
    assert json.loads((target / "backup.json").read_text())["backup"]["damaged"] == [
        {"collection": "default", "id": "b", "what": "row"},
        {"collection": "default", "id": "c", "what": "vector"},
    ]


def test_what_was_plainly_damaged_before_there_were_checksums_is_known_afterwards(
    filled: Path, tell: Callable[[Story], None]
) -> None:
    """A folder of the schema before, with rows of which one is no JSON and a vector of enormous numbers."""
    steps = len(MIGRATIONS)
    with closing(sqlite3.connect(filled / DATABASE, isolation_level=None)) as db:
        for table in ("images", "embeddings"):
            db.execute(f"DROP INDEX {table}_without_checksum")
            db.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        db.execute("DELETE FROM schema_version WHERE version >= 6")
        db.execute("UPDATE images SET metadata = '{' WHERE id = 'b'")
    with closing(sqlite3.connect(filled / DATABASE)) as db:
        assert steps >= 6
        assert not re.search("checksum", str(db.execute("SELECT sql FROM sqlite_schema").fetchall()))
    flip_vector(filled, "c")

    async def story(opened: Opened) -> None:
        await settled(opened)
        hits = await opened.collections.search("default", await query_of(opened), k=10)
        assert sorted(hit.id for hit in hits) == ["a", "c"]
        assert all(abs(hit.cosine) <= 1.001 for hit in hits)
        assert await n_damaged(opened) == 1
        assert await opened.listed() == ["a", "c"]

    tell(story)
