"""Run SQLite work off the event loop, one writer beside several readers; knows nothing of tables."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from diptych.adapters.sqlite_schema import connect, migrate
from diptych.bundle.failpoints import around
from diptych.errors import CorruptStore, StoreError

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

N_READERS = 2


class SqliteThreads:
    """The writer's thread serialises all changes; readers see the last commit (WAL) and never wait for it."""

    def __init__(self, file: Path) -> None:
        """Open and migrate, blocking. Raises StoreError, CorruptStore."""
        self._file = file
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        with _translated():
            self._writer_db = self._connect(writes=True)
            migrate(self._writer_db)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in one transaction: durable when this returns, undone when it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact, work)

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

    def _transact(self, work: Work[Result]) -> Result:
        with _translated():
            self._writer_db.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer_db)
                with around("commit"):
                    self._writer_db.execute("COMMIT")
            except BaseException:
                if self._writer_db.in_transaction:  # SQLite itself rolls back on some errors
                    self._writer_db.execute("ROLLBACK")
                raise
            return result

    def _query(self, work: Work[Result]) -> Result:
        with _translated():
            if not hasattr(self._local, "db"):
                self._local.db = self._connect(writes=False)
            return work(self._local.db)


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)  # errors of the module itself have none
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise CorruptStore(f"the database is damaged: {error}") from error
        raise StoreError(f"the database failed: {error}") from error
