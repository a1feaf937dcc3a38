"""Texts that collections were searched for, in the database of the collections."""

import sqlite3
from collections.abc import Sequence

from diptych.adapters.sqlite.records import require_collection
from diptych.adapters.sqlite.threads import SqliteThreads


class SqliteQueries:
    """Satisfies `core.rollout.ports.QueryStore`."""

    def __init__(self, threads: SqliteThreads) -> None:
        self._threads = threads

    async def add_queries(self, collection: str, texts: Sequence[str], max_kept: int) -> None:
        """Add texts as the newest ones, and forget older ones beyond `max_kept`. Raises NotFound."""
        await self._threads.write(lambda db: _add(db, collection, texts, max_kept))

    async def queries(self, collection: str) -> list[str]:
        """The texts of a collection, newest first. Raises NotFound."""

        def work(db: sqlite3.Connection) -> list[str]:
            require_collection(db, collection)
            query = "SELECT text FROM recorded_queries WHERE collection = ? ORDER BY number DESC"
            return [text for (text,) in db.execute(query, (collection,))]

        return await self._threads.read(work)

    async def forget_queries(self) -> int:
        """Delete the texts of all collections; return how many there were."""
        return await self._threads.write(
            lambda db: db.execute("DELETE FROM recorded_queries").rowcount, makes_room=True
        )


def _add(db: sqlite3.Connection, collection: str, texts: Sequence[str], max_kept: int) -> None:
    require_collection(db, collection)
    db.executemany(
        "INSERT OR REPLACE INTO recorded_queries (collection, text) VALUES (?, ?)",
        [(collection, text) for text in texts],
    )
    db.execute(
        "DELETE FROM recorded_queries WHERE collection = ?1 AND number NOT IN"
        " (SELECT number FROM recorded_queries WHERE collection = ?1 ORDER BY number DESC LIMIT ?2)",
        (collection, max_kept),
    )
