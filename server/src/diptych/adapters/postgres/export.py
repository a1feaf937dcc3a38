"""Reads collections of a database at one moment, also while servers use it."""

# ruff: noqa: S608 - only names of tables of this package are inserted into statements

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from diptych.adapters.postgres import vector_tables
from diptych.adapters.postgres.connection import PostgresConnection, connect, described
from diptych.adapters.postgres.dialect import PostgresDialect
from diptych.adapters.postgres.errors import postgres_errors_translated, reason_of
from diptych.adapters.sql.rows import identity_number
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.export import SqlExport, row_of
from diptych.core.transfer import Row
from diptych.errors import StoreUnavailable

_NUMBER = "(SELECT number FROM collections WHERE name = ?)"
_AT_ONCE = 1_000  # rows in memory


class PostgresExport(SqlExport):
    """One read-only transaction, which holds no lock that a server waits for."""

    def __init__(self, db: PostgresConnection) -> None:
        self._db = db

    def folder_id(self) -> str:
        """The id that the database has in common with its originals."""
        ((id,),) = self._read("SELECT folder FROM last_write")
        return str(id)

    def n_images(self, collection: str) -> int:
        """The number of rows that `rows` returns."""
        ((count,),) = self._read(f"SELECT count(*) FROM images WHERE collection = {_NUMBER}", (collection,))
        return int(count)

    def n_vectors(self, collection: str) -> dict[str, int]:
        """The number of vectors in the collection, by identity."""
        names = dict(self._read("SELECT number, identity FROM identities"))
        tables = vector_tables.of_collection(self._db, self._number(collection))
        counts = {
            names[one]: next(self._read(f"SELECT count(*) FROM {table}"))[0] for one, table in tables.items()
        }
        return {identity: n for identity, n in counts.items() if n}

    def embed_dim(self, collection: str, identity: str) -> int:
        """The dimension of the vectors of this identity."""
        ((n_bytes,),) = self._read(
            f"SELECT length(embedding) FROM {self._table(collection, identity)} LIMIT 1"
        )
        return int(n_bytes) // FLOAT.itemsize

    def rows(self, collection: str, identity: str) -> Iterator[tuple[Row, bool]]:
        """The rows in order of creation, each with whether its image file is kept."""
        query = (
            "SELECT id, sha256, media_type, width, height, metadata, created_at, v.embedding, kept"
            f" FROM images i LEFT JOIN {self._table(collection, identity)} v ON v.key = i.key"
            " WHERE i.collection = %s ORDER BY i.key"
        )
        with postgres_errors_translated(), self._db.raw.cursor(name="rows") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(query, (self._number(collection),))
            yield from map(row_of, cursor)

    def _number(self, collection: str) -> int:
        ((number,),) = self._read("SELECT number FROM collections WHERE name = ?", (collection,))
        return int(number)

    def _table(self, collection: str, identity: str) -> str:
        number = identity_number(self._db, identity)
        return vector_tables.find(self._db, self._number(collection), number) or ""

    def _read(self, query: str, values: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with postgres_errors_translated():
            return iter(self._db.execute(query, values).fetchall())


@contextmanager
def postgres_export(url: str) -> Iterator[PostgresExport]:
    """Open a database to export its collections. Raises StoreUnavailable, StoreError, ConfigError."""
    try:
        db = connect(url, "diptych export", PostgresDialect())
    except psycopg.Error as error:
        raise StoreUnavailable(
            f"the database {described(url)} cannot be reached: {reason_of(error)}"
        ) from error
    with closing(db.raw):
        with postgres_errors_translated():
            db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield PostgresExport(db)
