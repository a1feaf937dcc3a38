"""The SQL statements on images and embeddings, as functions of a connection."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.filters import ASK_PYTHON, condition_of
from diptych.adapters.sqlite.records import RECORD, record_of, set_metadata
from diptych.core.collections.metadata.checks import to_json
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.metadata.reserved import lacks_given, same_metadata
from diptych.core.types import (
    NO_ROWS,
    Embedding,
    Embeddings,
    Keys,
    Metadata,
    NewRow,
    PutResult,
)

INSERT = (
    "INSERT INTO images (id, collection, sha256, n_bytes, media_type, width, height, metadata, created_at,"
    " kept, checksum, picture_hash, change) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# Takes any number of values as one parameter, a JSON array.
ONE_OF = "IN (SELECT value FROM json_each(?))"
STEPS_BETWEEN_CHECKS = 20_000  # of SQLite's virtual machine, about a millisecond


def now() -> str:
    """The current time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def identity_number(db: sqlite3.Connection, identity: str) -> int | None:
    """The number that rows use for an identity; None if nothing was ever embedded with it."""
    row = db.execute("SELECT number FROM identities WHERE identity = ?", (identity,)).fetchone()
    return None if row is None else int(row[0])


def add_identity(db: sqlite3.Connection, identity: str) -> int:
    """The number of an identity, which is added if it is new."""
    db.execute("INSERT OR IGNORE INTO identities (identity) VALUES (?)", (identity,))
    number = identity_number(db, identity)
    assert number is not None
    return number


@dataclass(frozen=True)
class Writing:
    """What the rows of one write have in common: collection, number of the identity, and change number."""

    c: int
    identity: int
    change: int


def put_row(db: sqlite3.Connection, row: NewRow, writing: Writing, *, replace: bool) -> PutResult:
    """Add one row. An existing row with its id decides whether that creates, replaces or conflicts."""
    found = db.execute(
        f"SELECT key, {RECORD} FROM images WHERE collection = ? AND id = ?", (writing.c, row.id)
    ).fetchone()
    if found is None:
        return PutResult("created", _insert(db, row, writing))
    key, there = int(found[0]), record_of(found[1:])
    if there.sha256 == row.sha256:
        return _put_same(db, key, row, there.metadata, writing, replace=replace)
    if not replace:
        return PutResult("conflict", key)
    if row.metadata is None:
        row = dataclasses.replace(row, metadata=there.metadata)
    return _put_in_place(db, key, row, writing)


def put_embeddings(
    db: sqlite3.Connection, keys: Sequence[int], rows: Embeddings, writing: Writing
) -> list[int]:
    """Add the embeddings of images of the collection that still exist; return their keys."""
    query = f"SELECT key FROM images WHERE key {ONE_OF} AND +collection = ?"
    there = {key for (key,) in db.execute(query, (json.dumps(list(keys)), writing.c))}
    for key, row in zip(keys, rows, strict=True):
        if key in there:
            _put_embedding(db, key, row, writing)
    return [key for key in keys if key in there]


def delete_images(db: sqlite3.Connection, c: int, keys: Sequence[int]) -> tuple[str, ...]:
    """Delete rows of the collection with their embeddings; return the files that no other row uses."""
    chosen = (json.dumps(list(keys)), c)
    sha256s = _sha256s(db, f"key {ONE_OF} AND +collection = ?", chosen)
    db.execute(f"DELETE FROM images WHERE key {ONE_OF} AND +collection = ?", chosen)
    return tuple(sorted(unused_files(db, sha256s)))


def used_files(db: sqlite3.Connection, sha256s: Iterable[str]) -> set[str]:
    """The sha256 whose file is used by a row."""
    chosen = (json.dumps(list(sha256s)),)
    query = f"SELECT sha256 FROM images WHERE sha256 {ONE_OF} AND kept"
    return {sha256 for (sha256,) in db.execute(query, chosen)}


def unused_files(db: sqlite3.Connection, sha256s: Iterable[str]) -> set[str]:
    """The sha256 whose file is used by no row."""
    asked = set(sha256s)
    return asked - used_files(db, asked)


def all_keys(db: sqlite3.Connection, c: int) -> Keys:
    """The keys of all rows, ascending."""
    query = "SELECT key FROM images WHERE collection = ? ORDER BY key"
    return np.array([key for (key,) in db.execute(query, (c,))], dtype=np.int64)


def matching_keys(
    db: sqlite3.Connection,
    c: int,
    filter: Filter,
    stopped: Callable[[], bool],
    after_key: int = -1,
) -> Keys:
    """The keys above `after_key` of rows whose metadata pass the filter, ascending.

    Ends early with no keys once `stopped` is true.
    """
    condition = condition_of(filter, "metadata", [c, after_key])

    def ask_python(number: int, metadata: str) -> bool:
        if stopped():
            raise InterruptedError
        return condition.asked[number].matches(json.loads(metadata))

    db.create_function(ASK_PYTHON, 2, ask_python, deterministic=True)
    db.set_progress_handler(stopped, STEPS_BETWEEN_CHECKS)
    try:
        is_scan = after_key < 0 and _is_scan_faster(db, c)
        images = "images NOT INDEXED" if is_scan else "images"
        query = (
            f"SELECT key FROM {images} WHERE collection = ?1 AND key > ?2 AND {condition.sql} ORDER BY key"
        )
        return np.array([key for (key,) in db.execute(query, condition.parameters)], dtype=np.int64)
    except sqlite3.OperationalError:
        if stopped():
            return np.empty(0, np.int64)
        raise
    finally:
        db.set_progress_handler(None, 0)
        db.create_function(ASK_PYTHON, 2, None)


EMBEDDINGS_AFTER = (
    "SELECT i.key, e.embedding, e.checksum FROM images i"
    " JOIN embeddings e ON e.key = i.key AND e.identity = ?"
    " WHERE i.collection = ? AND i.key > ? ORDER BY i.key LIMIT ?"
)


def read_embeddings(
    db: sqlite3.Connection, c: int, identity: int, after_key: int, limit: int
) -> tuple[list[int], Embeddings, list[int]]:
    """At most `limit` keys above `after_key` with their embeddings (N, D), and the keys of damaged ones."""
    found = db.execute(EMBEDDINGS_AFTER, (identity, c, after_key, limit)).fetchall()
    whole = {
        key: blob for key, blob, checksum in found if checksums.vector_is_whole(blob, key, identity, checksum)
    }
    # Joining bytes is several times faster than stacking an array for each row.
    rows = np.frombuffer(b"".join(whole.values()), FLOAT).reshape(len(whole), -1) if whole else NO_ROWS
    return list(whole), rows, [key for key, *_ in found if key not in whole]


def read_embedding(db: sqlite3.Connection, key: int, identity: int) -> Embedding | None:
    """The embedding (D,) of one image; None if it has none."""
    query = "SELECT embedding FROM embeddings WHERE key = ? AND identity = ?"
    row = db.execute(query, (key, identity)).fetchone()
    return None if row is None else np.frombuffer(row[0], dtype=FLOAT)


def read_embeddings_of(db: sqlite3.Connection, keys: Sequence[int], identity: int) -> dict[int, Embedding]:
    """The embeddings (D,) of those images that have an undamaged one."""
    query = f"SELECT key, embedding, checksum FROM embeddings WHERE identity = ? AND key {ONE_OF}"
    return {
        key: np.frombuffer(blob, FLOAT)
        for key, blob, checksum in db.execute(query, (identity, json.dumps(list(keys))))
        if checksums.vector_is_whole(blob, key, identity, checksum)
    }


def read_picture_hashes(db: sqlite3.Connection, keys: Sequence[int]) -> dict[int, bytes | None]:
    """The picture hashes of images by key; None where it is unknown and the image's file is kept."""
    query = f"SELECT key, picture_hash FROM images WHERE key {ONE_OF} AND (picture_hash IS NOT NULL OR kept)"
    return dict(db.execute(query, (json.dumps(list(keys)),)))


def _is_scan_faster(db: sqlite3.Connection, c: int) -> bool:
    """Whether a full table scan is faster than looking up each row of the collection in an index."""
    (n_rows,) = db.execute("SELECT count(*) FROM images WHERE collection = ?", (c,)).fetchone()
    (last_key,) = db.execute("SELECT coalesce(max(key), 0) FROM images").fetchone()
    return bool(4 * n_rows >= last_key)


def _put_in_place(db: sqlite3.Connection, key: int, row: NewRow, writing: Writing) -> PutResult:
    """Replace the row of `key` by a new one."""
    sha256s = _sha256s(db, "key = ?", (key,))
    db.execute("DELETE FROM images WHERE key = ?", (key,))
    new_key = _insert(db, row, writing)
    return PutResult(
        "replaced", new_key, removed_key=key, released=next(iter(unused_files(db, sha256s)), None)
    )


def _sha256s(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> set[str]:
    return {sha256 for (sha256,) in db.execute(f"SELECT sha256 FROM images WHERE {where}", values)}


def _put_same(
    db: sqlite3.Connection, key: int, row: NewRow, metadata: Metadata, writing: Writing, *, replace: bool
) -> PutResult:
    """Add a row whose image is already there: replace the metadata if asked to, and add the embedding."""
    _put_embedding(db, key, row.embedding, writing)
    if not replace or row.metadata is None or same_metadata(row.metadata, metadata):
        return PutResult("unchanged", key, metadata_differs=lacks_given(row.metadata, metadata))
    set_metadata(db, key, row.metadata, writing.change)
    return PutResult("replaced", key)


def _insert(db: sqlite3.Connection, row: NewRow, writing: Writing) -> int:
    text, created_at = to_json(row.metadata or {}), now()
    checksum = checksums.of_row(
        row.id.encode(),
        row.sha256.encode(),
        row.n_bytes,
        row.media_type.encode(),
        row.width,
        row.height,
        text.encode(),
        created_at.encode(),
        row.kept,
    )
    values = (row.id, writing.c, row.sha256, row.n_bytes, row.media_type, row.width, row.height)
    values += (text, created_at, int(row.kept), checksum, row.picture_hash, writing.change)  # type: ignore[assignment]
    key = db.execute(INSERT, values).lastrowid
    assert key is not None
    _put_embedding(db, key, row.embedding, writing)
    return key


def _put_embedding(db: sqlite3.Connection, key: int, embedding: Embedding, writing: Writing) -> None:
    blob = np.asarray(embedding, dtype=FLOAT).tobytes()
    db.execute(
        "INSERT OR REPLACE INTO embeddings (key, identity, embedding, checksum, change)"
        " VALUES (?, ?, ?, ?, ?)",
        (key, writing.identity, blob, checksums.of_vector(blob, key, writing.identity), writing.change),
    )
