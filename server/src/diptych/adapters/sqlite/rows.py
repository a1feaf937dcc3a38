"""The SQL statements that several ports need, as functions of a connection."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import numpy as np

from diptych.adapters.sqlite.filters import ASK_PYTHON, condition_of
from diptych.core.collections.metadata.filters import Filter
from diptych.core.types import Keys

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


def used_files(db: sqlite3.Connection, sha256s: Iterable[str]) -> set[str]:
    """The sha256 whose file is used by a row."""
    chosen = (json.dumps(list(sha256s)),)
    query = f"SELECT sha256 FROM images WHERE sha256 {ONE_OF} AND kept"
    return {sha256 for (sha256,) in db.execute(query, chosen)}


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
        return condition.in_python[number].matches(json.loads(metadata))

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


def _is_scan_faster(db: sqlite3.Connection, c: int) -> bool:
    """Whether a full table scan is faster than looking up each row of the collection in an index."""
    (n_rows,) = db.execute("SELECT count(*) FROM images WHERE collection = ?", (c,)).fetchone()
    (last_key,) = db.execute("SELECT coalesce(max(key), 0) FROM images").fetchone()
    return bool(4 * n_rows >= last_key)
