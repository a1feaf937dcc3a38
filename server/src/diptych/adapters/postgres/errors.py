"""Translates psycopg's errors into ours. Messages name neither host nor user: callers may see them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from diptych.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable

LOG = logging.getLogger("diptych.store")
UNREACHABLE = "the database cannot be reached: the server tries again with each request"
# After which the same work may succeed on another connection, or in another transaction.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, errors.UndefinedTable)
_LASTING = (errors.DiskFull, errors.OutOfMemory, errors.ReadOnlySqlTransaction)


def is_passing(error: psycopg.Error) -> bool:
    """Whether to try again: the connection is gone, or the transaction was ended by another one."""
    return isinstance(error, PASSING) and not isinstance(error, _LASTING)


@contextmanager
def postgres_errors_translated() -> Iterator[None]:
    """Raise errors of psycopg in the block as StoreUnavailable, StoreFull, StoreReadOnly or StoreError."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error) from error


def translated(error: psycopg.Error) -> StoreError:
    """The error of a store for one of psycopg. Its details, which may hold values of rows, are left out."""
    if isinstance(error, errors.DiskFull):
        return StoreFull("the database: no space is left on its disk")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StoreReadOnly("the database takes no writes, as a standby does")
    if is_passing(error):
        return StoreUnavailable(UNREACHABLE)
    return StoreError(f"the database failed: {reason_of(error)}")


def reason_of(error: psycopg.Error) -> str:
    """The first line of what the database, or the driver, says."""
    text = error.diag.message_primary or str(error)
    return " ".join(text.splitlines()[:1]) or type(error).__name__
