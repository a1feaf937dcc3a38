"""When work is tried again: the state of an outage, and the limit of one operation."""

import threading
import time

import psycopg
from psycopg import errors

from diptych.adapters.postgres.errors import (
    GONE,
    LOG,
    has_no_tables,
    is_out_of_reach,
    is_passing,
    reason_of,
)

RETRY_S = 8.0  # of an outage: calls wait that long, later ones fail at once until it is over
PAUSE_S = 0.1  # between two attempts


class Outage:
    """An outage of the database, or of its tables alone. The log has one line when it begins, and one
    when it ends.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.n = 0  # how many there were
        self._since: float | None = None
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        """Whether it goes on, as far as is known."""
        return self._since is not None

    def begin(self, error: psycopg.Error) -> float:
        """Note that the database is out of reach; return since when it is, in monotonic seconds."""
        with self._lock:
            if self._since is None:
                self._since, self.n = time.monotonic(), self.n + 1
                reason = GONE if has_no_tables(error) else reason_of(error)
                LOG.warning("the database %s is out of reach: %s", self._name, reason)
            return self._since

    def end(self) -> None:
        """Note that the database has answered."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                passed_s = time.monotonic() - self._since
                self._since = None
                LOG.info("the database %s answers again, after %.1f s", self._name, passed_s)


class Retries:
    """The attempts of one operation: at most RETRY_S long, whatever other operations reach."""

    def __init__(self, outage: Outage, *, waits: bool = True) -> None:
        self._outage, self._waits = outage, waits
        self._since: float | None = None  # the first failure

    def again(self, error: psycopg.Error, *, is_gone: bool = False, in_doubt: bool = False) -> bool:
        """Whether to try again; waits before. `is_gone`: the connection was lost, not refused.

        `in_doubt`: until the database says whether the COMMIT took place, however long that takes: rows that
        are stored and not in the index would not be found.
        """
        now = time.monotonic()
        is_first, since = self._since is None, now if self._since is None else self._since
        self._since = since
        if is_gone and is_first and is_passing(error):
            return True  # another connection is the first try, and may tell of an outage
        if is_out_of_reach(error) or has_no_tables(error):
            since = min(since, self._outage.begin(error))
        if in_doubt and isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
            return True
        if not is_passing(error):
            return False
        if in_doubt or (self._waits and now - since < RETRY_S):
            time.sleep(PAUSE_S)
            return True
        return False
