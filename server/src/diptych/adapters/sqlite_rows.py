"""The statements behind the store, as functions of a connection; knows nothing of threads or files."""

# ruff: noqa: S608 - only the constants of this module are spliced into statements

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from diptych.adapters.sqlite_filters import ASK_PYTHON, condition_of
from diptych.core.filters import Filter
from diptych.core.metadata import to_json
from diptych.core.types import (
    NO_ROWS,
    Embedding,
    Embeddings,
    ImageRecord,
    Keys,
    Metadata,
    NewRow,
    PutResult,
    Removed,
)
from diptych.errors import NotFound

RECORD = "id, collection, sha256, n_bytes, media_type, width, height, metadata, created_at, kept"
FLOAT = np.dtype("<f4")
# Any number of values as one parameter.
ONE_OF = "IN (SELECT value FROM json_each(?))"
STEPS_BETWEEN_LOOKS = 20_000  # of SQLite, a millisecond or so


def now() -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def identity_number(db: sqlite3.Connection, identity: str) -> int | None:
    """The short form that rows use; None when nothing was ever embedded with it."""
    row = db.execute("SELECT number FROM identities WHERE identity = ?", (identity,)).fetchone()
    return None if row is None else int(row[0])


def add_identity(db: sqlite3.Connection, identity: str) -> int:
    """The short form, made up if need be."""
    db.execute("INSERT OR IGNORE INTO identities (identity) VALUES (?)", (identity,))
    number = identity_number(db, identity)
    assert number is not None
    return number


def require_collection(db: sqlite3.Connection, name: str) -> None:
    """Raises NotFound."""
    if db.execute("SELECT 1 FROM collections WHERE name = ?", (name,)).fetchone() is None:
        raise NotFound(f"no collection named {name!r}")


def find_key(db: sqlite3.Connection, collection: str, id: str) -> int:
    """The key of an id. Raises NotFound."""
    row = db.execute("SELECT key FROM images WHERE collection = ? AND id = ?", (collection, id)).fetchone()
    if row is None:
        raise NotFound(f"no image {id[:140]!r} in collection {collection!r}")
    return int(row[0])


def put_row(
    db: sqlite3.Connection, collection: str, row: NewRow, identity: int, *, replace: bool
) -> PutResult:
    """One row of an add: what is there under its id decides."""
    found = db.execute(
        "SELECT key, sha256, metadata FROM images WHERE collection = ? AND id = ?", (collection, row.id)
    ).fetchone()
    if found is None:
        return PutResult("created", _insert(db, collection, row, row.metadata or {}, identity))
    key, sha256, metadata = int(found[0]), found[1], json.loads(found[2])
    if sha256 == row.sha256:
        return _put_same(db, key, row, metadata, identity, replace=replace)
    if not replace:
        return PutResult("conflict", key)
    db.execute("DELETE FROM images WHERE key = ?", (key,))
    kept = metadata if row.metadata is None else row.metadata
    new_key = _insert(db, collection, row, kept, identity)
    return PutResult("replaced", new_key, removed_key=key, released=next(iter(unused(db, [sha256])), None))


def put_embeddings(db: sqlite3.Connection, keys: Sequence[int], rows: Embeddings, identity: int) -> list[int]:
    """Add those whose image still exists; their keys."""
    there = {
        key for (key,) in db.execute(f"SELECT key FROM images WHERE key {ONE_OF}", (json.dumps(list(keys)),))
    }
    for key, row in zip(keys, rows, strict=True):
        if key in there:
            _put_embedding(db, key, row, identity)
    return [key for key in keys if key in there]


def delete_images(db: sqlite3.Connection, keys: Sequence[int]) -> Removed:
    """Delete the rows with their embeddings; what they alone used is released."""
    chosen = (json.dumps(list(keys)),)
    sha256s = {sha256 for (sha256,) in db.execute(f"SELECT sha256 FROM images WHERE key {ONE_OF}", chosen)}
    db.execute(f"DELETE FROM images WHERE key {ONE_OF}", chosen)
    return Removed(tuple(keys), tuple(sorted(unused(db, sha256s))))


def used(db: sqlite3.Connection, sha256s: Iterable[str]) -> set[str]:
    """Those whose file some row uses."""
    chosen = (json.dumps(list(sha256s)),)
    query = f"SELECT sha256 FROM images WHERE sha256 {ONE_OF} AND kept"
    return {sha256 for (sha256,) in db.execute(query, chosen)}


def unused(db: sqlite3.Connection, sha256s: Iterable[str]) -> set[str]:
    """Those whose file no row uses."""
    asked = set(sha256s)
    return asked - used(db, asked)


def record(row: sqlite3.Row | tuple[str, ...]) -> ImageRecord:
    """The columns of RECORD, in their order."""
    id, collection, sha256, n_bytes, media_type, width, height, metadata, created_at, kept = row
    return ImageRecord(
        id=id,
        collection=collection,
        sha256=sha256,
        n_bytes=int(n_bytes),
        media_type=media_type,
        width=int(width),
        height=int(height),
        metadata=json.loads(metadata),
        created_at=created_at,
        kept=bool(kept),
    )


def matching_keys(
    db: sqlite3.Connection, collection: str, filter: Filter, stopped: Callable[[], bool]
) -> Keys:
    """Reads all metadata, in SQL. Once `stopped` says so, the rest is left: nobody wants the answer."""
    condition = condition_of(filter, "metadata", [collection])

    def ask_python(number: int, metadata: str) -> bool:
        if stopped():
            raise InterruptedError
        return condition.asked[number].matches(json.loads(metadata))

    db.create_function(ASK_PYTHON, 2, ask_python, deterministic=True)
    db.set_progress_handler(stopped, STEPS_BETWEEN_LOOKS)
    try:
        images = "images NOT INDEXED" if _is_much_of_all(db, collection) else "images"
        query = f"SELECT key FROM {images} WHERE collection = ?1 AND {condition.sql} ORDER BY key"
        return np.array([key for (key,) in db.execute(query, condition.parameters)], dtype=np.int64)
    except sqlite3.OperationalError:
        if stopped():
            return np.empty(0, np.int64)
        raise
    finally:
        db.set_progress_handler(None, 0)
        db.create_function(ASK_PYTHON, 2, None)


EMBEDDINGS_AFTER = (
    "SELECT i.key, e.embedding FROM images i JOIN embeddings e ON e.key = i.key AND e.identity = ?"
    " WHERE i.collection = ? AND i.key > ? ORDER BY i.key LIMIT ?"
)


def read_embeddings(
    db: sqlite3.Connection, collection: str, identity: int, after_key: int, limit: int
) -> tuple[list[int], Embeddings]:
    """At most `limit` embeddings with keys above `after_key`, ascending: keys and (N, D)."""
    found = db.execute(EMBEDDINGS_AFTER, (identity, collection, after_key, limit)).fetchall()
    if not found:
        return [], NO_ROWS
    rows = np.frombuffer(b"".join(blob for _, blob in found), dtype=FLOAT)
    return [int(key) for key, _ in found], rows.reshape(len(found), -1)


def read_embedding(db: sqlite3.Connection, key: int, identity: int) -> Embedding | None:
    """(D,), or None."""
    row = db.execute(
        "SELECT embedding FROM embeddings WHERE key = ? AND identity = ?", (key, identity)
    ).fetchone()
    return None if row is None else np.frombuffer(row[0], dtype=FLOAT)


def _is_much_of_all(db: sqlite3.Connection, collection: str) -> bool:
    """Then reading all rows as they lie is faster than looking up each of the collection's."""
    (n_rows,) = db.execute("SELECT count(*) FROM images WHERE collection = ?", (collection,)).fetchone()
    (last_key,) = db.execute("SELECT coalesce(max(key), 0) FROM images").fetchone()
    return bool(4 * n_rows >= last_key)


def _put_same(
    db: sqlite3.Connection, key: int, row: NewRow, metadata: Metadata, identity: int, *, replace: bool
) -> PutResult:
    """The same bytes again: at most the metadata is replaced. An embedding that it lacked it has now."""
    _put_embedding(db, key, row.embedding, identity, "IGNORE")
    if not replace or row.metadata is None or row.metadata == metadata:
        return PutResult("unchanged", key)
    db.execute("UPDATE images SET metadata = ? WHERE key = ?", (to_json(row.metadata), key))
    return PutResult("replaced", key)


def _insert(db: sqlite3.Connection, collection: str, row: NewRow, metadata: Metadata, identity: int) -> int:
    values = (row.id, collection, row.sha256, row.n_bytes, row.media_type, row.width, row.height)
    statement = f"INSERT INTO images ({RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    key = db.execute(statement, (*values, to_json(metadata), now(), int(row.kept))).lastrowid
    assert key is not None
    _put_embedding(db, key, row.embedding, identity)
    return key


def _put_embedding(
    db: sqlite3.Connection,
    key: int,
    embedding: Embedding,
    identity: int,
    present: Literal["REPLACE", "IGNORE"] = "REPLACE",
) -> None:
    blob = np.asarray(embedding, dtype=FLOAT).tobytes()
    db.execute(f"INSERT OR {present} INTO embeddings VALUES (?, ?, ?)", (key, identity, blob))
