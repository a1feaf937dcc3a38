"""Finds images by words, and indexes the words of images that were there before."""

import threading
from functools import partial

import numpy as np

from diptych.adapters.sql.connection import MATCH, Connection, Threads
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.records import change_of, of_collection
from diptych.adapters.sqlite.text_index import (
    index_next,
    n_unindexed,
    text_index,
)
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.types import WordMatches

AT_ONCE = 200  # rows that are indexed in one transaction, which takes about 10 ms


class SqlWords:
    """Satisfies `diptych.core.collections.stored.ports.WordRows`."""

    def __init__(self, threads: Threads, filters: FilterCache) -> None:
        self._threads = threads
        self._filters = filters

    async def matching(self, c: int, query: WordQuery) -> WordMatches:
        """All rows that match, best first by bm25. Raises NotFound.

        One search reads at a time. Cancelling the call ends its scan.
        """
        stop, n_clears = threading.Event(), self._filters.n_clears

        def work(db: Connection) -> WordMatches:
            change, index = change_of(db, c), text_index(db, c)
            n_images = self._filters.n_images(db, c, n_clears)
            found = db.dialect.find_words(db, c, query, stop.is_set) if query.phrases else np.empty(0, MATCH)
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
