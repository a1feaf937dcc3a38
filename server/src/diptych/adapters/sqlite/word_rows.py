"""Finds images by words, and indexes the words of images that were there before."""

# ruff: noqa: S608 - only numbers of collections and constants of this package are inserted into statements

import sqlite3
import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.metadata.matching import STEPS_BETWEEN_CHECKS
from diptych.adapters.sqlite.records import change_of, of_collection
from diptych.adapters.sqlite.text_index import (
    WEIGHTS,
    TextIndex,
    index_next,
    match_of,
    n_unindexed,
    text_index,
)
from diptych.adapters.sqlite.threads import SqliteThreads
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.types import WordMatches

_MATCH = np.dtype([("key", np.int64), ("rank", np.float64)])
AT_ONCE = 200  # rows that are indexed in one transaction, which takes about 10 ms


class SqliteWords:
    """Satisfies `diptych.core.collections.stored.ports.WordRows`."""

    def __init__(self, threads: SqliteThreads, filters: FilterCache) -> None:
        self._threads = threads
        self._filters = filters

    async def matching(self, c: int, query: WordQuery) -> WordMatches:
        """All rows that match, best first by bm25. Raises NotFound.

        One search reads at a time. Cancelling the call ends its scan.
        """
        stop, n_clears = threading.Event(), self._filters.n_clears

        def work(db: sqlite3.Connection) -> WordMatches:
            change, index = change_of(db, c), text_index(db, c)
            n_images = self._filters.n_images(db, c, n_clears)
            found = _matches(db, index, query, stop.is_set) if query.phrases else np.empty(0, _MATCH)
            order = np.lexsort((found["key"], found["rank"]))
            return WordMatches(
                found["key"][order],
                -found["rank"][order],
                change,
                n_images - n_unindexed(db, index),
                n_images,
            )

        try:
            return await self._threads.scan(work)
        finally:
            stop.set()

    async def index_next(self, c: int) -> int:
        """Index the words of the next rows that were there before; return how many. Raises NotFound."""
        return await self._threads.write(of_collection(c, partial(index_next, c=c, limit=AT_ONCE)))


def _matches(
    db: sqlite3.Connection, index: TextIndex, query: WordQuery, stopped: Callable[[], bool]
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Keys and ranks, the least rank is the best. Ends early with none once `stopped` is true."""
    statement = f"SELECT rowid, bm25({index.table}, {WEIGHTS}) FROM {index.table} WHERE {index.table} MATCH ?"
    db.set_progress_handler(stopped, STEPS_BETWEEN_CHECKS)
    try:
        return np.fromiter(db.execute(statement, (match_of(query),)), _MATCH)
    except sqlite3.OperationalError:
        if not stopped():
            raise
        return np.empty(0, _MATCH)
    finally:
        db.set_progress_handler(None, 0)
