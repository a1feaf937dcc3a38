"""The SQL statements that several ports need, as functions of a connection."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from diptych.adapters.sql.connection import Connection, Many
from diptych.core.types import Keys

# Takes any number of values as one parameter, `Many`.
ONE_OF = "IN (SELECT value FROM json_each(?))"


def now() -> str:
    """The current time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def identity_number(db: Connection, identity: str) -> int | None:
    """The number that rows use for an identity; None if nothing was ever embedded with it."""
    row = db.execute("SELECT number FROM identities WHERE identity = ?", (identity,)).fetchone()
    return None if row is None else int(row[0])


def add_identity(db: Connection, identity: str) -> int:
    """The number of an identity, which is added if it is new."""
    number = identity_number(db, identity)
    if number is None:
        (number,) = db.execute(
            "INSERT INTO identities (identity) VALUES (?) RETURNING number", (identity,)
        ).fetchone()
    return int(number)


def used_files(db: Connection, sha256s: Iterable[str]) -> set[str]:
    """The sha256 whose file is used by a row."""
    chosen = (Many(sha256s),)
    query = f"SELECT sha256 FROM images WHERE sha256 {ONE_OF} AND kept = 1"
    return {sha256 for (sha256,) in db.execute(query, chosen)}


def all_keys(db: Connection, c: int) -> Keys:
    """The keys of all rows, ascending."""
    query = "SELECT key FROM images WHERE collection = ? ORDER BY key"
    return np.array([key for (key,) in db.execute(query, (c,))], dtype=np.int64)
