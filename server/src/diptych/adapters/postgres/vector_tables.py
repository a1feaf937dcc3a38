"""A table of vectors for each collection and identity, made with the first of them and dropped with all.

A table that another session uses, such as pg_dump, is not waited for: a later drop or start drops it.
"""

# ruff: noqa: S608 - only numbers of collections and identities are inserted into statements

from collections.abc import Iterable, Sequence

import numpy as np
from psycopg.errors import LockNotAvailable

from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.postgres.errors import LOG
from diptych.adapters.sql.connection import Many, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import checksums
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.core.types import Embedding

_PAGE_BYTES = 8_000  # of a row that fits a page; longer vectors are stored out of line, as they are


def name_of(c: int, identity: int) -> str:
    """The name of a table."""
    return f"vectors_{c}_{identity}"


def find(db: PostgresConnection, c: int, identity: int | None) -> str | None:
    """The table of a collection and identity; None if it has none."""
    if identity is None:
        return None
    (table,) = db.execute("SELECT to_regclass(?)::text", (name_of(c, identity),)).fetchone() or (None,)
    return None if table is None else str(table)


def of_collection(db: PostgresConnection, c: int) -> dict[int, str]:
    """The tables of a collection, by the number of the identity."""
    query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE ?"
    names = [str(name) for (name,) in db.execute(query, (f"vectors\\_{c}\\_%",))]
    return {int(name.rpartition("_")[2]): name for name in names}


def of_no_collection(db: PostgresConnection) -> list[str]:
    """The tables, also those of words, whose collection is gone."""
    query = (
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        " AND tablename ~ '^(words_[0-9]+|vectors_[0-9]+_[0-9]+)$'"
        " AND split_part(tablename, '_', 2) NOT IN (SELECT number::text FROM collections)"
    )
    return [str(name) for (name,) in db.execute(query)]


def put(db: PostgresConnection, key: int, embedding: Embedding, writing: Writing) -> None:
    """Add the embedding of one row, or replace it, at the end of the transaction.

    Makes its table if it is the first one.
    """
    table = name_of(writing.c, writing.identity)
    blob = np.asarray(embedding, dtype=FLOAT).tobytes()
    if table not in db.tables:
        if find(db, writing.c, writing.identity) is None:
            _create(db, table, len(blob))
        db.tables.add(table)
    checksum = checksums.of_vector(blob, key, writing.identity)
    db.vectors.setdefault(table, {})[key] = (key, blob, checksum, writing.change)


def flush(db: PostgresConnection) -> None:
    """Write the embeddings that were put."""
    for table, rows in db.vectors.items():
        db.executemany(
            f"INSERT INTO {table} (key, embedding, checksum, change) VALUES (?, ?, ?, ?) ON CONFLICT (key)"
            " DO UPDATE SET embedding = excluded.embedding, checksum = excluded.checksum,"
            " change = excluded.change",
            list(rows.values()),
        )
    db.vectors.clear()


def written_since(db: PostgresConnection, c: int, keys: Sequence[int], change: int) -> set[int]:
    """Those keys that have an embedding, of any identity, which a later change than this one wrote."""
    found = set[int]()
    for table in of_collection(db, c).values():
        query = f"SELECT key FROM {table} WHERE key {ONE_OF} AND change > ?"
        found |= {key for (key,) in db.execute(query, (Many(keys), change))}
    return found


def delete(db: PostgresConnection, c: int, keys: Sequence[int]) -> None:
    """Delete the embeddings of rows of a collection, of all identities."""
    flush(db)
    for table in of_collection(db, c).values():
        db.execute(f"DELETE FROM {table} WHERE key {ONE_OF}", (Many(keys),))


def drop(db: PostgresConnection, tables: Iterable[str]) -> int:
    """Drop those of the tables that no other session uses; return how many."""
    free = [table for table in tables if lock(db, table)]
    for table in free:
        db.tables.discard(table)
        db.execute(f"DROP TABLE {table}")
    return len(free)


def lock(db: PostgresConnection, table: str) -> bool:
    """Lock a table to drop it; False, at once, if another session uses it."""
    try:
        with db.raw.transaction():
            db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT")
    except LockNotAvailable:
        LOG.info("table %s is dropped later: another session uses it", table)
        return False
    return True


def _create(db: PostgresConnection, table: str, n_bytes: int) -> None:
    storage = "PLAIN" if n_bytes <= _PAGE_BYTES else "EXTERNAL"
    db.execute(
        f"CREATE TABLE {table} (key BIGINT PRIMARY KEY, change BIGINT NOT NULL, checksum BIGINT NOT NULL,"
        f" embedding BYTEA STORAGE {storage} NOT NULL)"
    )
