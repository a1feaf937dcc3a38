"""Damage inside of a row that leaves the database sound: named, without loss of other rows, and mended."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.cli import main
from diptych.core.collections.filter_parser import parse_filter
from diptych.core.types import NewVector, VectorOrigin
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


async def settled(opened: Opened) -> None:
    """What can be embedded again is."""
    for _ in range(1_000):
        if (await opened.collections.get("default")).state == "ready":
            return
        await asyncio.sleep(0.01)


async def query_of(opened: Opened) -> Any:
    return await opened.collections.embedding_of("default", "a")


def test_flipped_bit_of_a_vector_is_known_at_the_start_and_its_image_is_embedded_again(
    filled: Path, tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    before = vector_of(filled, "b")
    flip_vector(filled, "b")

    async def story(opened: Opened) -> None:
        assert "collection default: the vector of row 2 is damaged" in caplog.text
        await settled(opened)
        hits = await opened.collections.search("default", await query_of(opened), k=10)
        assert sorted(hit.id for hit in hits) == ["a", "b", "c"]
        assert all(abs(hit.cosine) <= 1.001 for hit in hits)

    tell(story)
    assert vector_of(filled, "b") == before


def test_vectors_that_changed_rows_are_damaged_and_their_images_are_embedded_again(
    filled: Path, tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Both are sound in themselves: each row's checksum is of its vector and of the row."""
    vectors = {id: vector_of(filled, id) for id in "ac"}
    with closing(sqlite3.connect(filled / DATABASE)) as db, db:
        (a, c) = (db.execute("SELECT key FROM images WHERE id = ?", id).fetchone()[0] for id in "ac")
        query = "SELECT embedding, checksum FROM embeddings WHERE key = ?"
        contents = [db.execute(query, (key,)).fetchone() for key in (a, c)]
        for key, content in zip((c, a), contents, strict=True):
            db.execute("UPDATE embeddings SET embedding = ?, checksum = ? WHERE key = ?", (*content, key))

    async def story(opened: Opened) -> None:
        assert caplog.text.count("is damaged") == 2
        await settled(opened)

    tell(story)
    assert {id: vector_of(filled, id) for id in "ac"} == vectors


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
        assert (await opened.collections.get("default")).n_embedded == 2
        added = await opened.collections.add_vectors("default", origin, items)
        assert [one.status for one in added.outcomes] == ["unchanged"] * 3
        assert await opened.ids(rows[1]) == ["b", "a", "c"]

    tell(story)

    async def reopened(opened: Opened) -> None:
        assert await opened.ids(rows[1]) == ["b", "a", "c"]

    tell(reopened)


def test_image_whose_row_is_damaged_can_be_deleted_and_added_again(
    filled: Path, tell: Callable[[Story], None]
) -> None:
    overwrite(filled, b'{"year":2001', b'z"year":2001')  # one bit, and it is no JSON any more

    async def story(opened: Opened) -> None:
        await opened.collections.delete("default", "b")
        assert len(opened.files()) == 2
        await opened.add("default", tiny_png(1), "b", {"year": 2001})
        assert await opened.listed() == ["a", "b", "c"]

    tell(story)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"year":2001', b'z"year":2001'),
        (b'{"year":2001,"w', b'{"year":2001,"\xff'),
        (b'"words":"0000', b'"words":"\xff000'),
    ],
    ids=["no JSON", "no UTF-8 in a key", "no UTF-8 in a value"],
)
@pytest.mark.parametrize(
    "clause",
    [None, {"year": {"gte": 2001}}, {"words": {"in": ["short", "a\0"]}}],
    ids=["none", "SQL", "Python"],
)
def test_reads_of_a_damaged_row_name_the_check_and_nothing_of_the_row(
    filled: Path, tell: Callable[[Story], None], old: bytes, new: bytes, clause: Any
) -> None:
    overwrite(filled, old, new)

    async def story(opened: Opened) -> None:
        query, filter = await query_of(opened), None if clause is None else parse_filter(clause)
        with pytest.raises(CorruptStore, match="`diptych check --data-dir` names its image") as raised:
            if clause is None:
                await opened.collections.list_images("default", None, 10)
            else:
                await opened.collections.search("default", query, k=10, filter=filter)
        assert "2001" not in "".join(format_exception(raised.value))

    tell(story)


def test_verifying_a_backup_names_what_is_damaged_inside_of_the_database(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path_factory.mktemp("backups") / "backup")
    overwrite(filled, b'{"year":2001', b'z"year":2001')
    flip_vector(filled, "c")
    assert main(["backup", target, "--data-dir", str(filled)]) == 0
    capsys.readouterr()
    assert main(["backup", target, "--verify"]) == 1
    assert capsys.readouterr().err == (
        "images damaged in the database: 2 (delete and add them again)\n"
        "default/b: its row is damaged\ndefault/c: its vector is damaged\n"
    )
