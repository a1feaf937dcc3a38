"""Translates SQLite's errors into ours, a full or read-only disk included."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.adapters.files.disk_errors import READ_ONLY, is_read_only
from diptych.adapters.sqlite.schema import DAMAGED_ROW, damaged, is_of_damaged_row, is_of_damaged_tables
from diptych.errors import CorruptStore, StoreError, StoreFull, StoreReadOnly

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# SQLite has no specific error for a full disk when it creates the files next to the database.
_UNSPECIFIC = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
PRIMARY = 0xFF  # mask of the primary code in an extended error code of SQLite
_FULL_BELOW_BYTES = 64 * 1024  # with fewer free bytes an unspecific error counts as a full disk


@contextmanager
def sqlite_errors_translated(folder: Path) -> Iterator[None]:
    """Raise errors of SQLite in the block as CorruptStore, StoreFull, StoreReadOnly or StoreError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY  # errors of the Python module have none
        if is_of_damaged_row(error):
            raise CorruptStore(DAMAGED_ROW) from None  # the error contains text of the row
        if code in _DAMAGED or is_of_damaged_tables(error):
            raise CorruptStore(damaged(error)) from error
        if code == sqlite3.SQLITE_FULL or (code in _UNSPECIFIC and _is_full(folder)):
            raise StoreFull("the database: no space is left on the disk of the data folder") from error
        if code == sqlite3.SQLITE_READONLY or (code in _UNSPECIFIC and is_read_only(folder)):
            raise StoreReadOnly(READ_ONLY) from error
        raise StoreError(f"the database failed: {error}") from error


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _FULL_BELOW_BYTES
