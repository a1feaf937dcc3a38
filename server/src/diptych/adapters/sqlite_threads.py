"""Run SQLite work off the event loop, one writer beside several readers; knows nothing of tables."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from diptych.adapters.private_files import FILE_MODE, narrow
from diptych.adapters.quota import Quota
from diptych.adapters.refused_writes import file_errors_translated, sqlite_errors_translated
from diptych.adapters.reserve import free_bytes
from diptych.adapters.sqlite_schema import BUSY_S, connect, migrate, require_sound
from diptych.adapters.whole_files import size_of
from diptych.bundle.failpoints import Step, around
from diptych.errors import StoreFull

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

N_READERS = 2
WAIT_FOR_READERS_MS = 50  # a search reads for milliseconds, a backup for minutes


class SqliteThreads:
    """The writer's thread serialises all changes; readers see the last commit (WAL) and never wait for it."""

    def __init__(self, file: Path, quota: Quota | None = None) -> None:
        """Open and migrate, blocking. Raises StoreError, CorruptStore."""
        self._file = file
        self._log = file.with_name(f"{file.name}-wal")
        self._quota = quota or Quota()
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        try:
            self._open()
        except StoreFull:  # the files beside the database take some room
            with self._quota.reserve_lent():
                self._open()
        if not self._quota.take_reserve():
            self._cut_log()
            self._quota.take_reserve()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")
        self._quota.cut_log_with(self._cut_log_in_turn)

    async def write(self, work: Work[Result], *, step: Step = "commit", makes_room: bool = False) -> Result:
        """Run `work` in one transaction: durable when this returns, undone when it raises.

        `step` is what tests of durability call its commit. What makes room here or elsewhere need not find
        any first: no quota stands in its way, and on a full disk it is tried once more with the reserve.
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
        left = self._cut_log()
        if left:
            with self._quota.reserve_lent():
                left = self._cut_log()
        for db in self._connections:
            db.close()
        self._quota.take_reserve()
        if log_bytes := size_of(self._log):
            log.warning("%d bytes of log stay beside the database until the next start: %s", log_bytes, left)

    def _open(self) -> None:
        """The writer's connection, to a database that is sound and of today's schema."""
        self._keep_private()
        with sqlite_errors_translated(self._file.parent):
            self._writer_db = db = self._connect(writes=True)
            try:
                require_sound(db)
                migrate(db)
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
            self._cut_log()  # of what the attempt has left in it, too
            if not makes_room:
                raise
        with self._quota.reserve_lent():
            self._cut_log()  # with more room than before
            try:
                return self._try(work, step, makes_room)
            finally:
                self._cut_log()  # as long as there is room for that

    def _try(self, work: Work[Result], step: Step, makes_room: bool) -> Result:
        with sqlite_errors_translated(self._file.parent):
            self._cut_log_if_tight()
            self._writer_db.execute("BEGIN IMMEDIATE")
            try:
                before = _live_bytes(self._writer_db)
                result = work(self._writer_db)
                after = _live_bytes(self._writer_db)
                if not makes_room:
                    self._quota.require_database(before, after)
                with around(step):
                    self._writer_db.execute("COMMIT")
            except BaseException:
                if self._writer_db.in_transaction:  # SQLite itself rolls back on some errors
                    self._writer_db.execute("ROLLBACK")
                raise
            self._measure(after)
            self._cut_log_if_tight()
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

    def _cut_log_in_turn(self) -> None:
        with suppress(RuntimeError):  # it is being closed, and then the log goes anyway
            self._writer.submit(self._cut_log).result()

    def _cut_log_if_tight(self) -> None:
        if self._quota.is_tight:
            self._cut_log()

    def _cut_log(self) -> str:
        """By the writer, between two transactions. Why it stays, if it does, as while somebody reads from it:
        whatever is committed is safe there.
        """
        if size_of(self._log) == 0:
            return ""
        try:
            growth = _pages(self._writer_db, "page_count") - size_of(self._file)
            if growth > free_bytes(self._file.parent):  # the half of it would take the room and free none
                return f"the database would grow by {growth} bytes, for which the disk has no room"
            self._writer_db.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS}")
            try:
                busy, *_ = self._writer_db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._writer_db.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
            self._measure()
        except sqlite3.Error as error:
            return str(error)
        return "it is being read from" if busy else ""


def _live_bytes(db: sqlite3.Connection) -> int:
    """Of the pages in use; those that deleted rows have left free are not."""
    return _pages(db, "page_count") - _pages(db, "freelist_count")


def _pages(db: sqlite3.Connection, count: Literal["page_count", "freelist_count"]) -> int:
    """Of all pages or the free ones, in bytes."""
    (page_bytes,), (n_pages,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", count))
    return int(page_bytes) * int(n_pages)
