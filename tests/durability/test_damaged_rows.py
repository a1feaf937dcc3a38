"""Damage inside a row of a readable database is reported and repaired without loss of other rows."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import NewVector, VectorOrigin
from diptych.errors import CorruptStore
from integration.store_parts import Opened, Run, stories, tiny_png
from support.tiny_bundle import EMBED_DIM, TINY

LONG = "".join(f"{n:05}" for n in range(1_800))  # 9 kB, which takes pages of its own


@pytest.fixture
def run(model_repo: Path, tmp_path: Path) -> Run:
    """Run a story over one data folder. The next story finds what the earlier ones left."""
    return stories(model_repo, tmp_path)


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Path:
    """Return a data folder with three images, of which "b" has long metadata."""

    async def add(opened: Opened) -> None:
        for n, id in enumerate("abc"):
            outcome = await opened.add(
                "default", tiny_png(n), id, {"year": 2000 + n, "words": LONG if id == "b" else "short"}
            )
            assert outcome.status == "created"

    run(add)
    return tmp_path


def vector_of(data_dir: Path, id: str) -> bytes:
    query = "SELECT embedding FROM embeddings JOIN images USING (key) WHERE id = ?"
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        (vector,) = db.execute(query, (id,)).fetchone()
    return bytes(vector)


def overwrite(data_dir: Path, old: bytes, new: bytes, n_times: int = 1) -> None:
    """Replace bytes in the database file, where `old` occurs `n_times` times."""
    content = (data_dir / DATABASE).read_bytes()
    assert content.count(old) == n_times
    assert len(old) == len(new)
    (data_dir / DATABASE).write_bytes(content.replace(old, new))


def flip_vector(data_dir: Path, id: str) -> None:
    """Flip the highest exponent bit of one number of a vector, which makes its cosines enormous."""
    vector = vector_of(data_dir, id)
    overwrite(data_dir, vector, vector[:3] + bytes([vector[3] ^ 0x40]) + vector[4:])


async def settled(opened: Opened) -> None:
    """Wait until all images that can be embedded again have been."""
    for _ in range(1_000):
        if (await opened.collections.get("default")).state == "ready":
            return
        await asyncio.sleep(0.01)


async def query_of(opened: Opened) -> Any:
    return await opened.collections.images.embedding("default", "a")


def test_flipped_bit_of_a_vector_is_known_at_the_start_and_its_image_is_embedded_again(
    filled: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    before = vector_of(filled, "b")
    flip_vector(filled, "b")

    async def story(opened: Opened) -> None:
        assert "collection default: the vector of row 2 is damaged" in caplog.text
        await settled(opened)
        hits = await opened.search("default", await query_of(opened), k=10)
        assert sorted(hit.id for hit in hits) == ["a", "b", "c"]
        assert all(abs(hit.cosine) <= 1.001 for hit in hits)

    run(story)
    assert vector_of(filled, "b") == before


def test_vectors_that_changed_rows_are_damaged_and_their_images_are_embedded_again(
    filled: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Each vector is intact by itself, but a row's checksum covers both its vector and its key."""
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

    run(story)
    assert {id: vector_of(filled, id) for id in "ac"} == vectors


def test_damaged_vector_without_an_image_is_left_out_and_mended_by_adding_it_again(
    run: Run, tmp_path: Path
) -> None:
    rows = np.eye(EMBED_DIM, dtype=np.float32)[:3]
    items = [NewVector(row, id) for row, id in zip(rows, "abc", strict=True)]
    origin = VectorOrigin(TINY, 1)

    async def fill(opened: Opened) -> None:
        await opened.collections.add_vectors("default", origin, items)

    run(fill)
    flip_vector(tmp_path, "b")

    async def story(opened: Opened) -> None:
        await settled(opened)
        assert await opened.ids(rows[0]) == ["a", "c"]
        assert await opened.listed() == ["a", "b", "c"]  # its row is whole
        assert (await opened.collections.get("default")).n_embedded == 2
        added = await opened.collections.add_vectors("default", origin, items)
        assert [one.status for one in added.outcomes] == ["unchanged"] * 3
        assert await opened.ids(rows[1]) == ["b", "a", "c"]

    run(story)

    async def reopened(opened: Opened) -> None:
        assert await opened.ids(rows[1]) == ["b", "a", "c"]

    run(reopened)


def test_image_whose_row_is_damaged_can_be_deleted_and_added_again(filled: Path, run: Run) -> None:
    overwrite(filled, b'{"year":2001', b'z"year":2001')  # one bit, and it is no JSON any more

    async def story(opened: Opened) -> None:
        await opened.collections.images.delete("default", "b")
        assert len(opened.files()) == 2
        await opened.add("default", tiny_png(1), "b", {"year": 2001})
        assert await opened.listed() == ["a", "b", "c"]

    run(story)


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
    filled: Path, run: Run, old: bytes, new: bytes, clause: Any
) -> None:
    overwrite(filled, old, new)

    async def story(opened: Opened) -> None:
        query, filter = await query_of(opened), None if clause is None else parse_filter(clause)
        with pytest.raises(CorruptStore, match="`diptych check --data-dir` names its image") as raised:
            if clause is None:
                await opened.collections.images.list("default", None, 10)
            else:
                await opened.search("default", query, k=10, filter=filter)
        assert "2001" not in "".join(format_exception(raised.value))

    run(story)
