"""Translates SQLite's errors into ours, a full or read-only disk included."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.adapters.sqlite.schema import DAMAGED_ROW, damaged, is_of_damaged_row
from diptych.errors import CorruptStore, StoreError, StoreFull, StoreReadOnly

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


# SQLite has no word of its own for a full disk when it makes the files beside the database.
_VAGUE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


PRIMARY = 0xFF  # the part of an extended error code of SQLite that names the kind


_ROOM = 64 * 1024  # bytes; with less, a vague error is put down to it


@contextmanager
def sqlite_errors_translated(folder: Path) -> Iterator[None]:
    """Errors of SQLite as CorruptStore, StoreFull, StoreReadOnly or StoreError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY  # errors of the module itself have none
        if is_of_damaged_row(error):
            raise CorruptStore(DAMAGED_ROW) from None  # the error holds what the row says
        if code in _DAMAGED:
            raise CorruptStore(damaged(error)) from error
        if code == sqlite3.SQLITE_FULL or (code in _VAGUE and _is_full(folder)):
            raise StoreFull("the database: no space is left on the disk of the data folder") from error
        if code == sqlite3.SQLITE_READONLY or (code in _VAGUE and _is_read_only(folder)):
            raise StoreReadOnly("the database: the data folder is on a disk that is read-only") from error
        raise StoreError(f"the database failed: {error}") from error


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _ROOM


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
