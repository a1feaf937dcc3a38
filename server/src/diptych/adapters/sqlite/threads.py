"""Runs SQLite work outside the event loop, with one writer, several readers, and one for long scans."""

import asyncio
import errno
import logging
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from diptych.adapters.files.atomic_files import size_of
from diptych.adapters.files.disk_errors import file_errors_translated, require_writable
from diptych.adapters.files.opened import OpenedFiles
from diptych.adapters.files.private_files import FILE_MODE, narrow
from diptych.adapters.files.quota import TIGHT_BYTES, Quota
from diptych.adapters.free_space import available_memory
from diptych.adapters.sql.connection import AnyStep, Result, Work
from diptych.adapters.sqlite import text_index
from diptych.adapters.sqlite.dialect import SqliteConnection
from diptych.adapters.sqlite.errors import sqlite_errors_translated
from diptych.adapters.sqlite.schema import (
    BUSY_S,
    connect,
    connect_immutable,
    is_current,
    migrate,
    require_current,
    require_sound,
)
from diptych.errors import StoreError, StoreFull, StoreReadOnly
from diptych.failpoints import around

log = logging.getLogger(__name__)

N_READERS = 2
WAIT_FOR_READERS_MS = 50  # longer than the read of a search, shorter than a backup
RESERVE_BYTES = 6 * 2**20  # of log: SQLite lets it grow to 4 MB and one more commit
RESERVE_SHARE = 16  # on a small disk or with a small quota, at most one sixteenth of it
BLOCK = 4096
READ_AHEAD_BYTES = 2**20  # at a time


class SqliteThreads:
    """One thread writes, in order. Reader threads see the last commit (WAL) and never wait for the writer."""

    def __init__(
        self,
        file: Path,
        quota: Quota | None = None,
        *,
        read_only: bool = False,
        checks_in_background: bool = False,
        lock_file: Path | None = None,
    ) -> None:
        """Open, check and migrate the database, blocking. Raises StoreError, CorruptStore.

        Every write raises StoreUnavailable once the database, its log or `lock_file` has been removed.
        With `read_only` nothing is written: raises StoreError for a database that would have to be, and
        every write raises StoreReadOnly. With `checks_in_background`, a database that needs no migration is
        checked while it is read already. Writes wait for the check, and `require_sound` has its result.
        """
        self._file = file
        self._read_only = read_only
        self._log = file.with_name(f"{file.name}-wal")
        self._lock_file = lock_file
        self._opened = OpenedFiles([])  # known once the database is prepared
        self._quota = quota or Quota()
        self._reserve_bytes = _reserve_bytes(file.parent, self._quota.max_bytes)
        self._connections: list[SqliteConnection] = []
        self._local = threading.local()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")
        self._scanner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-scan")
        if read_only:
            self._require_no_log()
        else:
            self._keep_private()
        with sqlite_errors_translated(file.parent):
            self._writer_db = self._connect(writes=not read_only)
        is_checked_in_background = checks_in_background and is_current(self._writer_db)
        self._prepared: Future[None] = self._writer.submit(self._prepare)  # before all writes
        if not is_checked_in_background:
            try:
                self.require_sound()
            except BaseException:
                self.close()
                raise

    async def write(
        self,
        work: Work[Result],
        *,
        step: AnyStep = "commit",
        makes_room: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> Result:
        """Run `work` in one transaction: durable when this returns, rolled back when it raises.

        `then` is called after the transaction has ended, even if the caller is cancelled.

        `step` is the name of the commit in tests of durability. Work that `makes_room`, such as a deletion,
        is not checked against the quota and the free disk space. Work that finds the disk full is tried once
        more after the log was reset.
        """

        def transact() -> Result:
            try:
                return self._transact(work, step, makes_room)
            finally:
                then()

        return await asyncio.get_running_loop().run_in_executor(self._writer, transact)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on a read-only connection. All of its statements see the same commit."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, work)

    async def scan(self, work: Work[Result]) -> Result:
        """As `read`, for work that may take a second: one at a time, so that it never keeps readers busy.

        A caller that is cancelled leaves the queue.
        """
        return await asyncio.get_running_loop().run_in_executor(self._scanner, self._query, work)

    def write_now(self, work: Work[Result], *, step: AnyStep = "commit", makes_room: bool = False) -> Result:
        """As `write`, but blocking."""
        return self._writer.submit(self._transact, work, step, makes_room).result()

    def read_now(self, work: Work[Result]) -> Result:
        """As `read`, but blocking."""
        return self._readers.submit(self._query, work).result()

    def require_sound(self) -> None:
        """Wait for the check of the database, blocking. Raises CorruptStore naming the first fault."""
        self._prepared.result()

    def require_writable(self) -> None:
        """Raise StoreUnavailable if an open file was removed, StoreReadOnly if the disk takes no writes.

        Blocking. A server that is read-only writes nothing anyway.
        """
        if not self._read_only:
            self._opened.require()
            require_writable(self._file.parent)

    def close(self) -> None:
        """Finish submitted work, write the log into the database, then close the file. Blocking."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._scanner.shutdown()
        for db in self._connections:  # the last one removes the log, unless another process reads it
            db.close()

    def _prepare(self) -> None:
        """Check that the database is sound, and migrate it. Changes nothing if it is damaged."""
        _read_ahead(self._file)
        with sqlite_errors_translated(self._file.parent):
            damaged_words = require_sound(self._writer_db)
            if self._read_only:
                require_current(self._writer_db)
                return
            migrate(self._writer_db)
            text_index.mend(self._writer_db, damaged_words)
            self._reserve_log()
            self._measure()
        lock_files = () if self._lock_file is None else (self._lock_file,)
        with file_errors_translated("the database"):
            self._opened = OpenedFiles((*lock_files, self._file, self._log))

    def _require_no_log(self) -> None:
        """Raise StoreError for a log that is not empty: it holds changes that only a writer can read."""
        with file_errors_translated("the database"):
            n_bytes = size_of(self._log)
            self._file.open("rb").close()  # SQLite does not say why it cannot
        if n_bytes:
            raise StoreError(
                f"the database has a log that was not written into it, {self._log.name} ({n_bytes} bytes), "
                "as after a kill: start and stop a server once that may write to the folder"
            )

    def _keep_private(self) -> None:
        """Make the database private; SQLite gives its log and index files the same mode."""
        with file_errors_translated("the database"):
            if not self._file.exists():
                self._file.touch(mode=FILE_MODE)
            self._file.with_name("reserve").unlink(
                missing_ok=True
            )  # left by earlier versions, see _reserve_log
        for suffix in ("", "-wal", "-shm"):
            narrow(self._file.with_name(self._file.name + suffix))

    def _connect(self, *, writes: bool) -> SqliteConnection:
        db = connect_immutable(self._file) if self._read_only else connect(self._file, writes=writes)
        self._connections.append(db)
        return db

    def n_bytes(self) -> int:
        """The bytes of the database file and its log on the disk. Blocking."""
        return size_of(self._file) + size_of(self._log)

    def _transact(self, work: Work[Result], step: AnyStep, makes_room: bool) -> Result:
        if self._read_only:
            raise StoreReadOnly("the database: the server is read-only")
        self.require_sound()
        with self._opened.required():  # after the commit, too: nothing that is lost is acknowledged
            try:
                return self._try(work, step, makes_room)
            except StoreFull:
                self._reset_log()  # the failed attempt has used some of it, too
                return self._try(work, step, makes_room)

    def _try(self, work: Work[Result], step: AnyStep, makes_room: bool) -> Result:
        with sqlite_errors_translated(self._file.parent):
            self._writer_db.execute("BEGIN IMMEDIATE")
            try:
                before = _live_bytes(self._writer_db)
                result = work(self._writer_db)
                after = _live_bytes(self._writer_db)
                if after > before and not makes_room:
                    self._quota.require_database(after)
                    self._require_space()
                with around(step):
                    self._writer_db.execute("COMMIT")
            except BaseException:
                if self._writer_db.in_transaction:  # SQLite itself rolls back on some errors
                    self._writer_db.execute("ROLLBACK")
                raise
            if self._quota.is_tight or self._free_bytes() < TIGHT_BYTES:
                self._reset_log()
            else:
                self._reserve_log()
                self._measure(after)
            return result

    def _query(self, work: Work[Result]) -> Result:
        if self._prepared.done():  # a damaged index could keep a reader going in circles
            self.require_sound()
        with sqlite_errors_translated(self._file.parent):
            if not hasattr(self._local, "db"):
                self._opened.require()  # SQLite would make a new file
                self._local.db = self._connect(writes=False)
            db: SqliteConnection = self._local.db
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

    def _reset_log(self) -> None:
        """Write the log into the database between two transactions, so that the next one starts at its
        beginning.

        On a full disk, or while the log is being read, nothing changes: commits are safe in the log.
        """
        mode = "TRUNCATE" if size_of(self._log) > self._reserve_bytes else "PASSIVE"
        self._writer_db.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS}")
        with suppress(sqlite3.Error):
            self._writer_db.execute(f"PRAGMA wal_checkpoint({mode})")
        self._writer_db.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
        self._reserve_log()
        self._measure()

    def _reserve_log(self) -> None:
        """Extend the log between two transactions, so that a deletion finds space in it even on a full disk.

        SQLite overwrites the log from its start, and ignores zeros at its end.
        """
        before = size_of(self._log)
        if before >= self._reserve_bytes:
            return
        try:
            with self._log.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
                except OSError:
                    file.truncate(before)  # part of the space may have been allocated
                    raise
        except OSError as error:  # try again after the next commit, unless the file system cannot do it
            if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:
                log.warning("no space is reserved for deletions on a full disk: %s", error.strerror)
                self._reserve_bytes = 0

    def _require_space(self) -> None:
        """Raises StoreFull if the disk has no space for the growth of the database and the log reserve."""
        growth = _pages(self._writer_db, "page_count") - size_of(self._file)
        if growth + max(0, self._reserve_bytes - size_of(self._log)) > self._free_bytes():
            raise StoreFull("the database: no space is left on the disk of the data folder")

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._file.parent).free


def _reserve_bytes(folder: Path, max_bytes: int | None) -> int:
    if not hasattr(os, "posix_fallocate"):  # macOS
        return 0
    room = min(shutil.disk_usage(folder).total, max_bytes or sys.maxsize)
    return min(RESERVE_BYTES, room // RESERVE_SHARE) // BLOCK * BLOCK


def _read_ahead(file: Path) -> None:
    """Have the operating system begin to read the whole file, if it takes at most half of the free memory.

    The check of the database reads page by page and backwards, which no system foresees: a million rows took
    40 s where their pages were not in memory, and take 7.
    """
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    with suppress(OSError), file.open("rb") as opened:
        n_bytes, memory = size_of(file), available_memory()
        if memory is not None and 2 * n_bytes > memory:
            return
        for start in range(0, n_bytes, READ_AHEAD_BYTES):
            os.posix_fadvise(opened.fileno(), start, READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _live_bytes(db: sqlite3.Connection) -> int:
    """The bytes of pages in use, without those that deleted rows have left free."""
    return _pages(db, "page_count") - _pages(db, "freelist_count")


def _pages(db: sqlite3.Connection, count: Literal["page_count", "freelist_count"]) -> int:
    """The bytes of all pages, or of the free ones."""
    (page_bytes,), (n_pages,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", count))
    return int(page_bytes) * int(n_pages)
