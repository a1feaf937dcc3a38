"""What SQLite does in its own way: JSON functions, FTS5, one table of embeddings."""

# ruff: noqa: S608 - only numbers of collections and constants of this module are inserted into statements

import json
import sqlite3
from collections.abc import Sequence

import numpy as np

from diptych.adapters.sql.connection import MATCH, Many, Matches, Stopped, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import checksums, text_index
from diptych.adapters.sqlite.checksums import FLOAT
from diptych.adapters.sqlite.metadata import fields, matching, order
from diptych.core.collections.metadata.facets import FieldSummary, Months
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.metadata.ordering import OrderBy
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.types import Embedding, Keys

# FTS5 keeps the words of deleted rows until their part of the index is merged, unless it is told otherwise.
OVERWRITES_DELETED = (3, 42, 0)  # the oldest SQLite that can be told
_WEIGHTS = ", ".join(map(str, text_index.WEIGHTS))

sqlite3.register_adapter(Many, json.dumps)


class SqliteDialect:
    """Satisfies `connection.Dialect`."""

    def matching_keys(
        self, db: sqlite3.Connection, c: int, filter: Filter, stopped: Stopped, after_key: int = -1
    ) -> Keys:
        """See `matching.matching_keys`."""
        return matching.matching_keys(db, c, filter, stopped, after_key)

    def ordered_keys(
        self, db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Keys | None:
        """See `order.ordered_keys`."""
        return order.ordered_keys(db, c, keys, order_by, stopped)

    def summarise(
        self, db: sqlite3.Connection, keys: Keys, limit: int, stopped: Stopped, *, nested: bool
    ) -> FieldSummary | None:
        """See `fields.summarise`."""
        return fields.summarise(db, keys, limit, stopped, nested=nested)

    def months(
        self, db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Months | None:
        """See `order.months`."""
        return order.months(db, c, keys, order_by, stopped)

    def texts(
        self, db: sqlite3.Connection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> dict[str, int] | None:
        """See `order.texts`."""
        return order.texts(db, c, keys, order_by, stopped)

    def create_words(self, db: sqlite3.Connection, c: int) -> None:
        """Make the empty table of the words of a collection."""
        db.execute(f"CREATE VIRTUAL TABLE words_{c} USING fts5(name, caption, other, tokenize = 'ascii')")
        if sqlite3.sqlite_version_info >= OVERWRITES_DELETED:
            db.execute(f"INSERT INTO words_{c} (words_{c}, rank) VALUES ('secure-delete', 1)")

    def find_words(self, db: sqlite3.Connection, c: int, query: WordQuery, stopped: Stopped) -> Matches:
        """Keys and ranks by bm25."""
        statement = f"SELECT rowid, bm25(words_{c}, {_WEIGHTS}) FROM words_{c} WHERE words_{c} MATCH ?"
        with matching.stoppable(db, stopped):
            return np.fromiter(db.execute(statement, (_match_of(query),)), MATCH)
        return np.empty(0, MATCH)

    def put_embedding(
        self,
        db: sqlite3.Connection,
        key: int,
        embedding: Embedding,
        writing: Writing,
        *,
        is_new: bool = False,
    ) -> None:
        """Add the embedding of one row, or replace it."""
        blob = np.asarray(embedding, dtype=FLOAT).tobytes()
        db.execute(
            "INSERT OR REPLACE INTO embeddings (key, identity, embedding, checksum, change)"
            " VALUES (?, ?, ?, ?, ?)",
            (key, writing.identity, blob, checksums.of_vector(blob, key, writing.identity), writing.change),
        )

    def embedded_since(self, db: sqlite3.Connection, c: int, keys: Sequence[int], change: int) -> set[int]:
        """Those rows that a later change than this one gave an embedding."""
        query = f"SELECT key FROM embeddings WHERE key {ONE_OF} AND change > ?"
        return {key for (key,) in db.execute(query, (Many(keys), change))}

    def delete_embeddings(self, db: sqlite3.Connection, c: int, keys: Sequence[int]) -> None:
        """Delete the embeddings of rows that stay; with rows, they are deleted already."""
        db.execute(f"DELETE FROM embeddings WHERE key {ONE_OF}", (Many(keys),))

    def clear_collection(self, db: sqlite3.Connection, c: int) -> None:
        """Empty the table of words, if it has rows."""
        if db.execute(f"SELECT 1 FROM words_{c}_content LIMIT 1").fetchone():
            text_index.begin_again(db, c)  # type: ignore[arg-type]  # it is a SqliteConnection

    def drop_tables(self, db: sqlite3.Connection, c: int) -> None:
        """Drop the table of words."""
        db.execute(f"DROP TABLE IF EXISTS words_{c}")

    def begin_switch(self, db: sqlite3.Connection, rollout: str | None) -> None:
        """Nothing: there is one server."""

    def require_followed(self, db: sqlite3.Connection) -> None:
        """Nothing: there is one server."""

    def last_write(self, db: sqlite3.Connection) -> int:
        """Nothing to number: there is one server."""
        return 0


class SqliteConnection(sqlite3.Connection):
    """Satisfies `connection.Connection`."""

    dialect = SqliteDialect()


def _match_of(query: WordQuery) -> str:
    """The query in the language of FTS5. Tokens hold letters, digits and marks only: nothing in them has a
    meaning there.
    """
    phrases = (f'"{" ".join(phrase.tokens)}"{"*" * phrase.is_prefix}' for phrase in query.phrases)
    return " ".join(phrases)
