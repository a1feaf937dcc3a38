"""Run SQLite work off the event loop, one writer beside several readers; knows nothing of tables."""

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from diptych.adapters.files.atomic_files import size_of
from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import FILE_MODE, narrow
from diptych.adapters.files.quota import TIGHT_BYTES, Quota
from diptych.adapters.sqlite.errors import sqlite_errors_translated
from diptych.adapters.sqlite.schema import BUSY_S, connect, migrate, require_sound
from diptych.errors import StoreFull
from diptych.failpoints import Step, around

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

N_READERS = 2
WAIT_FOR_READERS_MS = 50  # a search reads for milliseconds, a backup for longer
HELD_BYTES = 6 * 2**20  # of log: SQLite lets it grow to 4 MB and a commit
HELD_SHARE = 16  # of a small disk or quota, at most the 16th part
BLOCK = 4096


class SqliteThreads:
    """The writer's thread serialises all changes; readers see the last commit (WAL) and never wait for it."""

    def __init__(self, file: Path, quota: Quota | None = None) -> None:
        """Open and migrate, blocking. Raises StoreError, CorruptStore."""
        self._file = file
        self._log = file.with_name(f"{file.name}-wal")
        self._quota = quota or Quota()
        self._held_bytes = _held_bytes(file.parent, self._quota.max_bytes)
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._open()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")

    async def write(self, work: Work[Result], *, step: Step = "commit", makes_room: bool = False) -> Result:
        """Run `work` in one transaction: durable when this returns, undone when it raises.

        `step` is what tests of durability call its commit. What makes room here or elsewhere need not find
        any first: no quota stands in its way. What finds none is tried once more with all of the log.
        """
        transact = partial(self._transact, work, step, makes_room)
        return await asyncio.get_running_loop().run_in_executor(self._writer, transact)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on a connection that only reads. All of its statements see the same commit."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, work)

    def close(self) -> None:
        """Finish what was submitted, write the log into the database, then close the file. Blocking."""
        self._writer.shutdown()
        self._readers.shutdown()
        for db in self._connections:  # the last one removes the log, unless somebody reads from it
            db.close()

    def _open(self) -> None:
        """The writer's connection, to a database that is sound and of today's schema."""
        self._keep_private()
        with sqlite_errors_translated(self._file.parent):
            self._writer_db = db = self._connect(writes=True)
            try:
                require_sound(db)
                migrate(db)
                self._hold_room()
                self._measure()
            except BaseException:
                self._connections.remove(db)
                db.close()
                raise

    def _keep_private(self) -> None:
        """SQLite gives the files beside a database the mode of the database."""
        with file_errors_translated("the database"):
            if not self._file.exists():
                self._file.touch(mode=FILE_MODE)
            self._file.with_name("reserve").unlink(missing_ok=True)  # of earlier versions, see _hold_room
        for suffix in ("", "-wal", "-shm"):
            narrow(self._file.with_name(self._file.name + suffix))

    def _connect(self, *, writes: bool) -> sqlite3.Connection:
        db = connect(self._file, writes=writes)
        self._connections.append(db)
        return db

    def n_bytes(self) -> int:
        """Of the database's file and its log, on the disk. Blocking."""
        return size_of(self._file) + size_of(self._log)

    def _transact(self, work: Work[Result], step: Step, makes_room: bool) -> Result:
        try:
            return self._try(work, step, makes_room)
        except StoreFull:
            self._begin_log_anew()  # the attempt has left something in it, too
            return self._try(work, step, makes_room)

    def _try(self, work: Work[Result], step: Step, makes_room: bool) -> Result:
        with sqlite_errors_translated(self._file.parent):
            self._writer_db.execute("BEGIN IMMEDIATE")
            try:
                before = _live_bytes(self._writer_db)
                result = work(self._writer_db)
                after = _live_bytes(self._writer_db)
                if after > before and not makes_room:
                    self._quota.require_database(after)
                    self._require_room()
                with around(step):
                    self._writer_db.execute("COMMIT")
            except BaseException:
                if self._writer_db.in_transaction:  # SQLite itself rolls back on some errors
                    self._writer_db.execute("ROLLBACK")
                raise
            if self._quota.is_tight or self._free_bytes() < TIGHT_BYTES:
                self._begin_log_anew()
            else:
                self._hold_room()
                self._measure(after)
            return result

    def _query(self, work: Work[Result]) -> Result:
        with sqlite_errors_translated(self._file.parent):
            if not hasattr(self._local, "db"):
                self._local.db = self._connect(writes=False)
            db: sqlite3.Connection = self._local.db
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                if db.in_transaction:  # SQLite itself ends it on some errors
                    db.execute("ROLLBACK")

    def _measure(self, live_bytes: int | None = None) -> None:
        if live_bytes is None:
            live_bytes = _live_bytes(self._writer_db)
        self._quota.set_database(live_bytes, size_of(self._log) if self._quota.is_set else 0)

    def _begin_log_anew(self) -> None:
        """Write the log into the database between two transactions: the next one overwrites its start.

        On a full disk, or while somebody reads from it, it goes on: whatever is committed is safe there.
        """
        mode = "TRUNCATE" if size_of(self._log) > self._held_bytes else "PASSIVE"
        self._writer_db.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS}")
        with suppress(sqlite3.Error):
            self._writer_db.execute(f"PRAGMA wal_checkpoint({mode})")
        self._writer_db.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
        self._hold_room()
        self._measure()

    def _hold_room(self) -> None:
        """Make the log so long that a deletion finds room in it on a full disk, between two transactions.

        SQLite overwrites a log from its start, and takes zeros at its end for none of it.
        """
        before = size_of(self._log)
        if before >= self._held_bytes:
            return
        try:
            with self._log.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, self._held_bytes)
                except OSError:
                    file.truncate(before)  # a part of it may be there
                    raise
        except OSError as error:  # tried again after the next commit, unless it never can be
            if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:
                log.warning("no room is held back for deletions on a full disk: %s", error.strerror)
                self._held_bytes = 0

    def _require_room(self) -> None:
        """For what the database grows by, beside the log that is held. Raises StoreFull."""
        growth = _pages(self._writer_db, "page_count") - size_of(self._file)
        if growth + max(0, self._held_bytes - size_of(self._log)) > self._free_bytes():
            raise StoreFull("the database: no space is left on the disk of the data folder")

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._file.parent).free


def _held_bytes(folder: Path, max_bytes: int | None) -> int:
    if not hasattr(os, "posix_fallocate"):  # macOS
        return 0
    room = min(shutil.disk_usage(folder).total, max_bytes or sys.maxsize)
    return min(HELD_BYTES, room // HELD_SHARE) // BLOCK * BLOCK


def _live_bytes(db: sqlite3.Connection) -> int:
    """Of the pages in use; those that deleted rows have left free are not."""
    return _pages(db, "page_count") - _pages(db, "freelist_count")


def _pages(db: sqlite3.Connection, count: Literal["page_count", "freelist_count"]) -> int:
    """Of all pages or the free ones, in bytes."""
    (page_bytes,), (n_pages,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", count))
    return int(page_bytes) * int(n_pages)
