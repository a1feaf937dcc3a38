"""Tell how much room a migration wants where the disk is full; knows of rows only how many there are."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.adapters.reserve import free_bytes
from diptych.adapters.sqlite_checksums import CHUNK
from diptych.errors import StoreFull

INDEX_BYTES = 32  # of a row in the two indexes of what lacks a checksum: in the log, and then in the database
IDLE_LOG_BYTES = 4_200_000  # SQLite begins the log anew once it has a thousand pages
_VAGUE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})  # of the file beside the log
_NO_ROOM = 64 * 1024


@contextmanager
def room_named(db: sqlite3.Connection) -> Iterator[None]:
    """A block that brings the database up to date. Raises StoreFull with bytes wanted and free before.

    What the log has already, as of a start before that found too little, is room for it.
    """
    (_, _, file), *_ = db.execute("PRAGMA database_list").fetchall()
    folder, log = Path(file).parent, Path(f"{file}-wal")
    log_bytes = log.stat().st_size if log.exists() else 0
    wanted, free = wanted_bytes(db), free_bytes(folder) + log_bytes
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode & 0xFF
        if code != sqlite3.SQLITE_FULL and not (code in _VAGUE and free_bytes(folder) < _NO_ROOM):
            raise
        raise StoreFull(
            f"to bring the database to the schema of this version takes up to {wanted:,} bytes beside it, "
            f"mostly in its log, and {free:,} were free on the disk of {folder}: make room and start again. "
            "Nothing is lost, and what is done already is kept"
        ) from error


def wanted_bytes(db: sqlite3.Connection) -> int:
    """What the log and the growth of the database may take at once, for rows of about equal size."""
    file_bytes = _one(db, "PRAGMA page_count") * _one(db, "PRAGMA page_size")
    if not _one(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'images'"):
        return file_bytes + IDLE_LOG_BYTES
    n_rows = [_one(db, "SELECT count(*) FROM images"), _one(db, "SELECT count(*) FROM embeddings")]
    chunk_bytes = file_bytes * min(1.0, CHUNK / max(*n_rows, 1))
    return round(chunk_bytes) + 2 * INDEX_BYTES * sum(n_rows) + min(file_bytes, IDLE_LOG_BYTES)


def _one(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])
