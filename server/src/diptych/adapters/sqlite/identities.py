"""What makes the vectors of each identity, and the translation of the identities of earlier releases."""

# ruff: noqa: S608 - only constants of this module are inserted into statements

import logging
import sqlite3
from collections.abc import Mapping
from functools import partial

from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite import rows as sql
from diptych.adapters.sqlite.threads import SqliteThreads
from diptych.core.types import IdentitySource, VersionRef

log = logging.getLogger(__name__)

CHUNK = 4_096  # vectors that are moved in one transaction
_SOURCE = "model, version, bundle, precision, decode"


def record_source(db: sqlite3.Connection, identity: str, source: IdentitySource) -> None:
    """Set what makes the vectors of an identity, which is added if it is new."""
    number = sql.add_identity(db, identity)
    values = (source.ref.name, source.ref.version, source.ref.bundle, source.precision, source.decode)
    db.execute(f"UPDATE identities SET ({_SOURCE}) = (?, ?, ?, ?, ?) WHERE number = ?", (*values, number))


def sources(db: sqlite3.Connection) -> dict[str, IdentitySource]:
    """What makes the vectors of each identity for which that is known."""
    rows = db.execute(f"SELECT identity, {_SOURCE} FROM identities WHERE model IS NOT NULL")
    return {
        identity: IdentitySource(VersionRef(model, version, bundle), precision, decode)
        for identity, model, version, bundle, precision, decode in rows
    }


def adopt(threads: SqliteThreads, legacy: Mapping[str, tuple[str, IdentitySource]]) -> None:
    """Translate the identities of earlier releases, so that no vector is made again. Blocking.

    `legacy` maps an identity to today's and to what makes its vectors. Collections without an identity then
    get the known one of their model that most of their images have a vector of. If interrupted, the next
    start continues. Writes nothing when there is nothing to translate.
    """
    for identity in threads.read_now(_identities):
        if identity in legacy:
            _translate(threads, identity, *legacy[identity])
    chosen = threads.read_now(_most_used)
    if chosen:
        threads.write_now(partial(_set_identities, chosen=chosen))


def _identities(db: sqlite3.Connection) -> list[str]:
    return [identity for (identity,) in db.execute("SELECT identity FROM identities")]


def _translate(threads: SqliteThreads, identity: str, today: str, source: IdentitySource) -> None:
    """Rename an identity; if there is one of the new name already, move its vectors to that one."""
    log.info("vectors of %s (%s, %s decoding) get their identity of today", source.ref, source.precision,
             source.decode)  # fmt: skip
    numbers = threads.write_now(partial(_rename, identity=identity, today=today, source=source))
    if numbers is None:
        return
    after_key: int | None = 0
    while after_key is not None:
        after_key = threads.write_now(partial(_move, numbers=numbers, after_key=after_key), makes_room=True)
    threads.write_now(partial(_remove, numbers=numbers), makes_room=True)


def _rename(
    db: sqlite3.Connection, identity: str, today: str, source: IdentitySource
) -> tuple[int, int] | None:
    """Rename an identity, unless there is one of the new name: then return the numbers of both."""
    new = sql.identity_number(db, today)
    if new is None:
        db.execute("UPDATE identities SET identity = ? WHERE identity = ?", (today, identity))
    record_source(db, today, source)
    return None if new is None else (sql.add_identity(db, identity), new)


def _move(db: sqlite3.Connection, numbers: tuple[int, int], after_key: int) -> int | None:
    """Move the vectors of some images to another identity, or delete those that it has already.

    Returns the last key, None if there was none.
    """
    old, new = numbers
    query = (
        "SELECT key, embedding, checksum FROM embeddings WHERE identity = ? AND key > ? ORDER BY key LIMIT ?"
    )
    found = db.execute(query, (old, after_key, CHUNK)).fetchall()
    moved = []
    for key, embedding, checksum in found:
        # A damaged vector is as far from its new checksum as it was from the old one.
        change = checksums.of_vector(embedding, key, old) ^ checksums.of_vector(embedding, key, new)
        moved.append((new, checksum ^ change, key, old))
    db.executemany(
        "UPDATE OR IGNORE embeddings SET identity = ?, checksum = ? WHERE key = ? AND identity = ?", moved
    )
    db.executemany(
        "DELETE FROM embeddings WHERE key = ? AND identity = ?", [(key, old) for *_, key, old in moved]
    )
    return found[-1][0] if found else None


def _remove(db: sqlite3.Connection, numbers: tuple[int, int]) -> None:
    """Remove an identity without vectors."""
    old, new = numbers
    for column in ("identity", "previous_identity"):
        db.execute(f"UPDATE collections SET {column} = ? WHERE {column} = ?", (new, old))
    db.execute("DELETE FROM identities WHERE number = ?", (old,))


def _most_used(db: sqlite3.Connection) -> dict[str, int]:
    """For collections without an identity: the number of the known one of their model with most vectors."""
    query = (
        "SELECT e.identity FROM images i JOIN embeddings e ON e.key = i.key"
        " JOIN identities n ON n.number = e.identity WHERE i.collection = ? AND n.model = ?"
        " GROUP BY e.identity ORDER BY count(*) DESC, n.version DESC LIMIT 1"
    )
    without = db.execute("SELECT name, model FROM collections WHERE identity IS NULL").fetchall()
    found = {name: db.execute(query, (name, model)).fetchone() for name, model in without}
    return {name: row[0] for name, row in found.items() if row is not None}


def _set_identities(db: sqlite3.Connection, chosen: Mapping[str, int]) -> None:
    rows = [(number, name) for name, number in chosen.items()]
    db.executemany("UPDATE collections SET identity = ? WHERE name = ? AND identity IS NULL", rows)
