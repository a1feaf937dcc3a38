"""Run SQLite work off the event loop, one writer beside several readers; knows nothing of tables."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from diptych.adapters.quota import Quota
from diptych.adapters.refused_writes import sqlite_errors_translated
from diptych.adapters.sqlite_checksums import damaged_rows
from diptych.adapters.sqlite_schema import BUSY_S, connect, is_current, migrate, require_sound
from diptych.adapters.whole_files import size_of
from diptych.bundle.failpoints import Step, around

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
        with sqlite_errors_translated(self._file.parent):
            self._writer_db = self._connect(writes=True)
            self.damaged_at_start = self._checked()  # keys of rows
            self._measure()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")
        self._quota.cut_log_with(self._cut_log_in_turn)

    async def write(self, work: Work[Result], *, step: Step = "commit", within_quota: bool = True) -> Result:
        """Run `work` in one transaction: durable when this returns, undone when it raises.

        `step` is what tests of durability call its commit. What makes room elsewhere need not find any first.
        """
        transact = partial(self._transact, work, step, within_quota)
        return await asyncio.get_running_loop().run_in_executor(self._writer, transact)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on a connection that only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, work)

    def close(self) -> None:
        """Finish what was submitted, then close the file. Blocking."""
        self._writer.shutdown()
        self._readers.shutdown()
        for db in self._connections:
            db.close()

    def _connect(self, *, writes: bool) -> sqlite3.Connection:
        db = connect(self._file, writes=writes)
        self._connections.append(db)
        return db

    def _checked(self) -> set[int]:
        """Sound and up to date, but for these rows. SQLite's check leaves Python time for the other."""
        if is_current(self._writer_db):
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-check") as beside:
                damaged = beside.submit(self._damaged_rows)
                require_sound(self._writer_db)
                return damaged.result()
        require_sound(self._writer_db)
        migrate(self._writer_db)
        return self._damaged_rows()

    def _damaged_rows(self) -> set[int]:
        with closing(connect(self._file, writes=False)) as db:
            return set(damaged_rows(db))

    def n_bytes(self) -> int:
        """Of the database's file and its log, on the disk. Blocking."""
        return size_of(self._file) + size_of(self._log)

    def _transact(self, work: Work[Result], step: Step, within_quota: bool) -> Result:
        with sqlite_errors_translated(self._file.parent):
            self._cut_log_if_tight()
            self._writer_db.execute("BEGIN IMMEDIATE")
            try:
                before = _live_bytes(self._writer_db)
                result = work(self._writer_db)
                after = _live_bytes(self._writer_db)
                if within_quota:
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
            return work(self._local.db)

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

    def _cut_log(self) -> None:
        """By the writer, between two transactions. A log that somebody reads from for long stays for now."""
        if size_of(self._log) == 0:
            return
        with suppress(sqlite3.Error):  # whatever is committed is safe in the log, and stays there
            self._writer_db.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS}")
            try:
                self._writer_db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._writer_db.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
            self._measure()


def _live_bytes(db: sqlite3.Connection) -> int:
    """Of the pages in use; those that deleted rows have left free are not."""
    n_bytes, n_pages, n_free = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return n_bytes * (n_pages - n_free)
