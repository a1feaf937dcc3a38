"""Remembers which rows pass a filter, their order, and what the fields of collections hold.

A repeated filter reads only the rows that were added since.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np

from diptych.adapters.sql.connection import Connection
from diptych.core.collections.metadata.filters import Filter
from diptych.core.types import Keys

MAX_KEYS = 4_000_000  # of filters, and as many of orders: 32 MB each
MAX_RESULTS = 16

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Passing:
    """The keys (N,) of rows that pass, among all rows with keys up to `newest`."""

    keys: Keys
    newest: int


class FilterCache:
    """The rows that pass recent filters, and recent orders and summaries, least recently used first; and the
    numbers of rows. For any number of threads.

    Added rows have larger keys than all before, so they extend a filter, and make a result void. Any other
    change of rows must be followed by `clear` before it is acknowledged.
    """

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._entries: OrderedDict[tuple[int, bytes], Passing] = OrderedDict()
        self._results: OrderedDict[tuple[int, bytes, bytes], tuple[int, Any]] = OrderedDict()
        self._counts: dict[int, tuple[int, int]] = {}  # by collection: rows, among those up to a key
        self._n_clears = 0
        self._lock = threading.Lock()

    @property
    def n_clears(self) -> int:
        """How often it was cleared."""
        return self._n_clears

    def clear(self) -> None:
        """Forget everything, also what readers have begun to read."""
        with self._lock:
            self._entries.clear()
            self._results.clear()
            self._counts.clear()
            self._n_clears += 1

    def matching_keys(
        self,
        db: Connection,
        c: int,
        filter: Filter,
        stopped: Callable[[], bool],
        n_clears: int,
    ) -> Keys:
        """As `rows.matching_keys`. `n_clears` is that of the time before the transaction began."""
        place = (c, _digest(filter))
        with self._lock:
            known = self._entries.get(place)
        (newest,) = db.execute("SELECT coalesce(max(key), 0) FROM images").fetchone()
        if known is None:
            found = Passing(db.dialect.matching_keys(db, c, filter, stopped), newest)
        elif known.newest < newest:
            added = db.dialect.matching_keys(db, c, filter, stopped, after_key=known.newest)
            found = Passing(np.concatenate([known.keys, added]), newest)
        else:
            found = known
        with self._lock:
            if n_clears == self._n_clears and not stopped():
                self._entries[place] = found
                self._entries.move_to_end(place)
                self._forget_oldest()
        return found.keys

    def result(
        self,
        db: Connection,
        c: int,
        filter: Filter | None,
        what: object,
        *,
        make: Callable[[], Result | None],
        n_clears: int,
    ) -> Result | None:
        """Return the result of `make`, or the cached one for the same rows. None is not cached.

        `what` says what is made of the rows; `n_clears` as for `matching_keys`.
        """
        place = (c, _digest(filter), _digest(what))
        query = "SELECT coalesce(max(key), 0) FROM images WHERE collection = ?"
        (newest,) = db.execute(query, (c,)).fetchone()
        with self._lock:
            known = self._results.get(place)
            if known is not None and known[0] == newest:
                self._results.move_to_end(place)
                found: Result = known[1]
                return found
        made = make()
        with self._lock:
            if n_clears == self._n_clears and made is not None:
                self._results[place] = (newest, made)
                self._results.move_to_end(place)
                while len(self._results) > MAX_RESULTS or _n_keys(self._results) > self._max_keys:
                    self._results.popitem(last=False)
        return made

    def n_images(self, db: Connection, c: int, n_clears: int) -> int:
        """The number of rows of a collection. `n_clears` as for `matching_keys`.

        Counting a million takes longer than finding a word.
        """
        with self._lock:
            n_known, newest_known = self._counts.get(c, (0, 0))
        query = "SELECT count(*), coalesce(max(key), ?2) FROM images WHERE collection = ?1 AND key > ?2"
        n_new, newest = db.execute(query, (c, newest_known)).fetchone()
        with self._lock:
            if n_clears == self._n_clears:
                self._counts[c] = (n_known + n_new, newest)
        return int(n_known + n_new)

    def _forget_oldest(self) -> None:
        while sum(len(one.keys) + 1 for one in self._entries.values()) > self._max_keys:
            self._entries.popitem(last=False)


def _n_keys(results: Mapping[Any, tuple[int, Any]]) -> int:
    """The keys that results hold; others than orders are small."""
    return sum(len(made) for _, made in results.values() if isinstance(made, np.ndarray))


def _digest(value: object) -> bytes:
    """The digest of a filter's text: as Python values, 1, 1.0 and true would be equal."""
    return sha256(repr(value).encode()).digest()
