"""One image's row as a record, compared with its checksum; knows nothing of how rows are put or found."""

# ruff: noqa: S608 - only the constants of this module are spliced into statements

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from diptych.adapters import sqlite_checksums as checksums
from diptych.adapters.sqlite_checksums import CONTENT
from diptych.core.metadata import to_json
from diptych.core.types import ImageRecord, Metadata
from diptych.errors import CorruptStore, NotFound

RECORD = f"checksum, CAST(collection AS BLOB), {CONTENT}"


def require_collection(db: sqlite3.Connection, name: str) -> None:
    """Raises NotFound."""
    if db.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone() is None:
        raise NotFound(f"no collection named {name!r}")


def find_key(db: sqlite3.Connection, collection: str, id: str) -> int:
    """The key of an id. Raises NotFound."""
    row = db.execute("SELECT key FROM images WHERE collection = ? AND id = ?", (collection, id)).fetchone()
    if row is None:
        require_collection(db, collection)
        raise NotFound(f"no image {id[:140]!r} in collection {collection!r}")
    return int(row[0])


def is_whole(row: Sequence[Any]) -> bool:
    """Whether the columns of RECORD are those that were written."""
    checksum, _, *content = row
    return checksums.row_is_whole(tuple(content), checksum)


def record_of(row: tuple[Any, ...]) -> ImageRecord | None:
    """The columns of RECORD, in their order; None where they are damaged."""
    checksum, collection, *content = row
    if not checksums.row_is_whole(tuple(content), checksum):
        return None
    id, sha256, n_bytes, media_type, width, height, metadata, created_at, kept = content
    return ImageRecord(
        id=id.decode(),
        collection=collection.decode(errors="replace"),
        sha256=sha256.decode(),
        n_bytes=n_bytes,
        media_type=media_type.decode(),
        width=width,
        height=height,
        metadata=json.loads(metadata),
        created_at=created_at.decode(),
        kept=bool(kept),
    )


def find_record(db: sqlite3.Connection, collection: str, id: str) -> tuple[int, ImageRecord]:
    """One row and its key. Raises NotFound, CorruptStore."""
    key = find_key(db, collection, id)
    found = record_of(db.execute(f"SELECT {RECORD} FROM images WHERE key = ?", (key,)).fetchone())
    if found is None:
        raise CorruptStore(
            f"image {id[:140]!r} in collection {collection!r} is damaged in the database, in row {key}: add "
            "it again with replace and its metadata, delete it, or restore a backup with `diptych restore`",
            logged=f"an image of collection {collection!r} is damaged in the database, in row {key}",
        )
    return key, found


def set_metadata(db: sqlite3.Connection, key: int, metadata: Metadata) -> None:
    """Of a row that is whole."""
    content = list(db.execute(f"SELECT {CONTENT} FROM images WHERE key = ?", (key,)).fetchone())
    text = to_json(metadata)
    content[6] = text.encode()
    values = (text, checksums.of_row(*content), key)
    db.execute("UPDATE images SET metadata = ?, checksum = ? WHERE key = ?", values)
