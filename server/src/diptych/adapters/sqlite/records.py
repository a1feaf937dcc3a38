"""Converts the row of an image to a record, and finds single rows."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import json
from collections.abc import Iterable
from typing import Any

from diptych.adapters.sql.connection import Connection, Result, Work
from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import CONTENT
from diptych.adapters.sqlite.schema import DAMAGED_ROW, REFERENCED
from diptych.adapters.sqlite.text_index import TextIndex
from diptych.core.collections.metadata.checks import to_json
from diptych.core.types import ImageRecord, Metadata
from diptych.errors import CorruptStore, NotFound

RECORD = (
    "id, (SELECT name FROM collections WHERE number = collection), sha256, n_bytes, media_type, width,"
    " height, metadata, created_at, kept"
)


# A collection that is being removed: its name is one that no other can have.
DROPPED = "(dropped)"
IS_THERE = f"name NOT LIKE '% {DROPPED}'"


def require_collection(db: Connection, c: int) -> str:
    """The name of a collection. Raises NotFound if there is none of this number, or if it was dropped."""
    row = db.execute(f"SELECT name FROM collections WHERE number = ? AND {IS_THERE}", (c,)).fetchone()
    if row is None:
        raise _dropped()
    return str(row[0])


def begin_change(db: Connection, c: int) -> int:
    """Raise the change number of a collection, before anything of it is written. Raises NotFound."""
    update = f"UPDATE collections SET change = change + 1 WHERE number = ? AND {IS_THERE} RETURNING change"
    row = db.execute(update, (c,)).fetchone()
    if row is None:
        raise _dropped()
    return int(row[0])


def change_of(db: Connection, c: int) -> int:
    """The change number of a collection. Raises NotFound."""
    row = db.execute(f"SELECT change FROM collections WHERE number = ? AND {IS_THERE}", (c,)).fetchone()
    if row is None:
        raise _dropped()
    return int(row[0])


def of_collection(c: int, work: Work[Result]) -> Work[Result]:
    """`work`, which raises NotFound unless the collection exists: one that is gone would seem to be empty."""

    def checked(db: Connection) -> Result:
        require_collection(db, c)
        return work(db)

    return checked


def _dropped() -> NotFound:
    return NotFound("the collection was dropped")


def find_key(db: Connection, c: int, id: str) -> int:
    """The key of an image. Raises NotFound."""
    row = db.execute("SELECT key FROM images WHERE collection = ? AND id = ?", (c, id)).fetchone()
    if row is None:
        raise NotFound(f"no image {id[:140]!r} in collection {require_collection(db, c)!r}")
    return int(row[0])


def record_of(row: Iterable[Any]) -> ImageRecord:
    """Make a record from the columns of RECORD, in order."""
    id, collection, sha256, n_bytes, media_type, width, height, metadata, created_at, kept = row
    return ImageRecord(
        id=id,
        collection=collection,
        sha256=sha256,
        n_bytes=n_bytes,
        media_type=media_type,
        width=width,
        height=height,
        metadata=_metadata_of(metadata),
        created_at=created_at,
        kept=bool(kept),
        referenced=kept == REFERENCED,
    )


def _metadata_of(text: str) -> Metadata:
    try:
        metadata: Metadata = json.loads(text)
    except (ValueError, RecursionError):
        raise CorruptStore(DAMAGED_ROW) from None  # the error contains the text
    return metadata


def find_record(db: Connection, c: int, id: str) -> tuple[int, ImageRecord]:
    """The key and record of an image. Raises NotFound."""
    key = find_key(db, c, id)
    return key, record_of(db.execute(f"SELECT {RECORD} FROM images WHERE key = ?", (key,)).fetchone())


def set_metadata(db: Connection, key: int, metadata: Metadata, change: int, words: TextIndex) -> None:
    """Replace the metadata of a row, and update its checksum and its words."""
    content = list(db.execute(f"SELECT {CONTENT} FROM images WHERE key = ?", (key,)).fetchone())
    text = to_json(metadata)
    content[6] = text.encode()
    values = (text, checksums.of_row(*content), change, key)
    db.execute("UPDATE images SET metadata = ?, checksum = ?, change = ? WHERE key = ?", values)
    words.remove(db, [key])
    words.add(key, content[0].decode(), metadata)
