"""Translates psycopg's errors into ours. Messages name neither host nor user: callers may see them."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from diptych.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable

LOG = logging.getLogger("diptych.store")
UNREACHABLE = "the database cannot be reached: the server tries again with each request"
GONE = "the tables of the database are gone, as while a dump is restored"
# Connections that failed, servers that stop or start, and too many connections. The driver has no state.
_OUT_OF_REACH = ("08", "57P", "53300")
_GONE = (errors.UndefinedTable, errors.InvalidSchemaName)
_OF_A_COLLECTION = re.compile(r"\b(vectors|words)_\d")  # tables that go with their collection
_ENDED_BY_OTHERS = (errors.SerializationFailure, errors.DeadlockDetected, *_GONE)
_ENDED = (errors.QueryCanceled, errors.SerializationFailure, errors.DeadlockDetected)

_READ_ONLY = "the database takes no writes, as a standby does"
_LOCKED = "the database: another session holds a lock that this needs, such as pg_dump's: try again later"
_NOT_REPLICATED = "the database has stored a write that its synchronous standby may lack: try again"


class NotReplicated(psycopg.OperationalError):
    """A COMMIT took place, and its wait for a synchronous standby was cancelled."""


_KNOWN: tuple[tuple[type[psycopg.Error], Callable[[], StoreError]], ...] = (
    (errors.DiskFull, lambda: StoreFull("the database: no space is left on its disk")),
    (errors.ReadOnlySqlTransaction, lambda: StoreReadOnly(_READ_ONLY)),
    (errors.LockNotAvailable, lambda: StoreUnavailable(_LOCKED)),
    (NotReplicated, lambda: StoreUnavailable(_NOT_REPLICATED)),
)


def is_out_of_reach(error: BaseException) -> bool:
    """Whether the connection failed, and not the statement."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    return not isinstance(error, NotReplicated) and (error.sqlstate or "08").startswith(_OUT_OF_REACH)


def has_no_tables(error: BaseException) -> bool:
    """Whether the database has answered, and lacks the tables that it always has."""
    return isinstance(error, _GONE) and not _OF_A_COLLECTION.search(str(error))


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same work may succeed on another connection, or in another transaction."""
    return is_out_of_reach(error) or isinstance(error, (*_ENDED_BY_OTHERS, NotReplicated))


@contextmanager
def postgres_errors_translated() -> Iterator[None]:
    """Raise errors of psycopg in the block as StoreUnavailable, StoreFull, StoreReadOnly or StoreError."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error) from error


def translated(error: psycopg.Error) -> StoreError:
    """The error of a store for one of psycopg. Its details, which may hold values of rows, are left out."""
    for kind, ours in _KNOWN:
        if isinstance(error, kind):
            return ours()
    if isinstance(error, _ENDED):
        return StoreUnavailable(
            f"the database ended a statement: {reason_of(error)}; try again, and if it ends again, look at "
            "settings of the database such as statement_timeout"
        )
    if is_out_of_reach(error):
        return StoreUnavailable(UNREACHABLE)
    if isinstance(error, _GONE):
        return StoreUnavailable(f"{GONE}: the server tries again with each request")
    return StoreError(f"the database failed: {reason_of(error)}")


def reason_of(error: psycopg.Error) -> str:
    """The first line of what the database, or the driver, says."""
    text = error.diag.message_primary or str(error)
    return " ".join(text.splitlines()[:1]) or type(error).__name__
