"""The SQL statements that several ports need, as functions of a connection."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from diptych.core.types import Keys

# Takes any number of values as one parameter, a JSON array.
ONE_OF = "IN (SELECT value FROM json_each(?))"


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
