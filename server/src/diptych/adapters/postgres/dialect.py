"""What PostgreSQL does in its own way: filters, order, words, and tables of vectors."""

# ruff: noqa: S608 - only numbers of collections and constants of this package are inserted into statements

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from diptych.adapters.postgres import announcements, servers, vector_tables, words, writes
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.postgres.filters import condition_of, holds, is_plain
from diptych.adapters.sql.connection import MATCH, Many, Matches, Stopped, Writing
from diptych.adapters.sql.rows import ONE_OF
from diptych.adapters.sqlite import text_index
from diptych.adapters.sqlite.metadata import fields
from diptych.core.collections.metadata.facets import FieldSummary, Months
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.metadata.ordering import OrderBy, Scalar, SortKey, month_of, sort_key
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.collections.stored.collection import PairChanged
from diptych.core.rollout.ports import SwitchRefused, of_rollout, waits_for_servers
from diptych.core.types import Embedding, Keys, Metadata
from diptych.errors import Conflict

_AT_ONCE = 2_000  # rows that Python looks at


class PostgresDialect:
    """Satisfies `adapters.sql.connection.Dialect`."""

    def matching_keys(
        self, db: PostgresConnection, c: int, filter: Filter, stopped: Stopped, after_key: int = -1
    ) -> Keys:
        """The keys above `after_key` of rows whose metadata pass, ascending; none once stopped."""
        condition = condition_of(filter)
        indexed = f" AND (({condition.sql}) OR fields IS NULL)" if condition.is_indexed else ""
        statement = (
            "SELECT key, holds, CASE WHEN holds IS NULL THEN metadata END FROM (SELECT key, metadata,"
            f" ({condition.sql}) AS holds FROM images WHERE collection = %(c)s AND key > %(after_key)s"
            f"{indexed} OFFSET 0) AS found WHERE holds IS NOT FALSE ORDER BY key"
        )
        parameters = {"c": c, "after_key": after_key, **condition.parameters}
        keys = list[int]()
        with db.raw.cursor("matching") as cursor:
            cursor.itersize = _AT_ONCE
            for key, is_sure, metadata in cursor.execute(statement, parameters):
                if stopped():
                    return np.empty(0, np.int64)
                if is_sure or holds(filter, key, json.loads(metadata)):
                    keys.append(key)
        return np.array([] if stopped() else keys, np.int64)

    def ordered_keys(
        self, db: PostgresConnection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Keys | None:
        """The given keys of a collection, or all, in the order of a field. Python sorts: see `sort_key`."""
        rows = [(sort_key(value), key) for key, value in self._values(db, c, keys, order_by, stopped)]
        if stopped():
            return None
        rows.sort(key=_in_direction(order_by), reverse=order_by.direction == "desc")
        return np.array([key for _, key in rows], np.int64)

    def months(
        self, db: PostgresConnection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Months | None:
        """The number of the given images, or all, by the month of a field; None once stopped."""
        counts = Counter(month_of(value) for _, value in self._values(db, c, keys, order_by, stopped))
        if stopped():
            return None
        dated = sorted((month, n) for month, n in counts.items() if month is not None)
        return Months(counts.total(), dict(dated))

    def texts(
        self, db: PostgresConnection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> dict[str, int] | None:
        """The number of the given images, or all, by the text of a field; None once stopped."""
        values = (value for _, value in self._values(db, c, keys, order_by, stopped))
        counts = Counter(value for value in values if isinstance(value, str))
        return None if stopped() else dict(counts)

    def _values(
        self, db: PostgresConnection, c: int, keys: Keys | None, order_by: OrderBy, stopped: Stopped
    ) -> Iterator[tuple[int, Scalar]]:
        """The keys by their ids, with the values that decide about their order. Ends early once stopped."""
        chosen = "" if keys is None else " AND key = ANY(%(keys)s)"
        names = order_by.path if is_plain("".join(order_by.path)) else ()
        path = {f"p{n}": name for n, name in enumerate(names)}
        value = "".join(["fields", *(f" -> %({name})s::text" for name in path)])
        whole = "CASE WHEN fields IS NULL THEN metadata END" if path else "metadata"
        rows_of = f"images WHERE collection = %(c)s{chosen} ORDER BY id"
        statement = f"SELECT key, ({value})::text, {whole} FROM {rows_of}"
        parameters = {"c": c, "keys": None if keys is None else keys.tolist(), **path}
        with db.raw.cursor("ordered") as cursor:
            cursor.itersize = _AT_ONCE
            for key, text, metadata in cursor.execute(statement, parameters):
                if stopped():
                    return
                found = _nested(order_by, text) if metadata is None else json.loads(metadata)
                yield key, order_by.value_of(found)

    def summarise(
        self, db: PostgresConnection, keys: Keys, limit: int, stopped: Stopped, *, nested: bool
    ) -> FieldSummary | None:
        """The fields of images. SQLite counts, in memory: at most MAX_READ rows are read."""
        read = fields.sample(keys)
        statement = f"SELECT key, metadata FROM images WHERE key {ONE_OF}"
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.execute("CREATE TABLE images (key INTEGER PRIMARY KEY, metadata TEXT)")
            memory.executemany(
                "INSERT INTO images VALUES (?, ?)", db.execute(statement, (Many(read.tolist()),))
            )
            return fields.summarise(memory, keys, limit, stopped, nested=nested)

    def create_words(self, db: PostgresConnection, c: int) -> None:
        """Make the empty table of the words of a collection."""
        for statement in words.table(c):
            db.execute(statement)

    def find_words(self, db: PostgresConnection, c: int, query: WordQuery, stopped: Stopped) -> Matches:
        """Keys and ranks of the rows that match."""
        statement, parameters = words.statement_of(c, query)
        return np.fromiter(db.raw.execute(statement, parameters), MATCH)

    def put_embedding(
        self,
        db: PostgresConnection,
        key: int,
        embedding: Embedding,
        writing: Writing,
        *,
        is_new: bool = False,
    ) -> None:
        """Add the embedding of one row, or replace it."""
        vector_tables.put(db, key, embedding, writing)
        writes.note(db, writing.c, "added" if is_new else "embedded", [key], writing.identity)

    def embedded_since(self, db: PostgresConnection, c: int, keys: Sequence[int], change: int) -> set[int]:
        """Those rows of a collection that a later change than this one gave an embedding."""
        return vector_tables.written_since(db, c, keys, change)

    def delete_embeddings(self, db: PostgresConnection, c: int, keys: Sequence[int]) -> None:
        """Delete the embeddings of rows, of all identities."""
        vector_tables.delete(db, c, keys)
        writes.note(db, c, "removed", keys)

    def clear_collection(self, db: PostgresConnection, c: int) -> None:
        """Drop the vectors and words of a dropped collection."""
        vector_tables.drop(db, vector_tables.of_collection(db, c).values())
        has_words = db.execute(f"SELECT 1 FROM words_{c} LIMIT 1").fetchone()
        if has_words and vector_tables.lock(db, f"words_{c}"):
            text_index.begin_again(db, c)

    def drop_tables(self, db: PostgresConnection, c: int) -> None:
        """Drop the tables that a collection has of its own."""
        vectors = vector_tables.of_collection(db, c).values()
        vector_tables.drop(db, {f"words_{c}", *vectors, *vector_tables.of_no_collection(db)})

    def begin_switch(self, db: PostgresConnection, rollout: str | None) -> None:
        """Raise the generation, so that other servers notice the switch.

        Raises Conflict without a rollout while other servers are alive; SwitchRefused unless they are ready
        for it, and this one, which is the oldest, writes alone and knows all writes.
        """
        if rollout is None:
            if others := servers.others(db):
                raise Conflict(servers.stop_first(others))
        elif waits_for := announcements.lacking(db, of_rollout(rollout), db.raw.info.backend_pid):
            raise SwitchRefused(waits_for_servers(waits_for))
        elif not (db.is_alone and db.knows_all and servers.is_oldest(db, db.raw.info.backend_pid)):
            raise SwitchRefused("another server may have written meanwhile, or run the rollout")
        writes.switch(db)

    def require_followed(self, db: PostgresConnection) -> None:
        """Raise PairChanged if another server has switched versions, which this one does not know yet."""
        if db.is_behind:
            raise PairChanged

    def last_write(self, db: PostgresConnection) -> int:
        """The number of the last write of all servers."""
        return writes.last_write(db).number


def _nested(order_by: OrderBy, text: str | None) -> Metadata:
    """Metadata with the value of a JSON text at the path."""
    value: Any = None if text is None else json.loads(text)
    for name in reversed(order_by.path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _in_direction(order_by: OrderBy) -> Callable[[tuple[SortKey, int]], Any]:
    """The key by which rows that are in the order of their ids are sorted."""
    if order_by.direction == "asc":
        return lambda row: row[0]
    return lambda row: (-row[0][0], *row[0][1:])  # the kinds keep their order
