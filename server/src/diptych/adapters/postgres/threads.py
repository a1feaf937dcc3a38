"""Runs work on PostgreSQL outside the event loop: one writer, several readers, and one for long scans."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from secrets import token_hex

import psycopg
from psycopg.pq import TransactionStatus

from diptych.adapters.postgres import announcements, servers, vector_tables, writes
from diptych.adapters.postgres.connection import PostgresConnection, connect, described
from diptych.adapters.postgres.dialect import PostgresDialect
from diptych.adapters.postgres.errors import (
    LOG,
    NotReplicated,
    postgres_errors_translated,
    reason_of,
    translated,
)
from diptych.adapters.postgres.retries import PAUSE_S, Outage, Retries
from diptych.adapters.postgres.schema import FolderId, prepare, require_prepared, require_usable
from diptych.adapters.postgres.writes import LastWrite
from diptych.adapters.sql.connection import AnyStep, Result, Work
from diptych.core.types import DatabaseReport
from diptych.errors import DataDirLocked, StoreError, StoreReadOnly, StoreUnavailable
from diptych.failpoints import around

N_READERS = 4
LOCK_WAIT_S = 5.0  # the connection of a killed server may live that long
COME_BACK_S = 5.0  # in which all servers connect again after the database was restarted
_LOST = (
    "the database has lost writes that were acknowledged, as a standby that lagged: "
    "restart the server to go on with what is left"
)
_TAKEN = "another server has used the database meanwhile: restart this one"
_BYTES = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
)


class PostgresThreads:
    """Satisfies `adapters.sql.connection.Threads`.

    The connection that writes also holds the lock of the database, so that a server which lost the lock
    cannot write. Work is a function of the database, and may run more than once. Every transaction that
    writes is numbered and leaves its id (see `writes`): the next one sees whether a COMMIT without an answer
    took place, whether another server has written, and whether the database has lost what was acknowledged.

    A server that only reads writes nothing, announces nothing, and is not alive for the others.
    """

    def __init__(
        self,
        url: str,
        folder: FolderId,
        *,
        name: str = "diptych",
        is_used: bool = False,
        shared: bool = False,
        reads_only: bool = False,
    ) -> None:
        """Connect, take the lock, and make or convert the tables, blocking.

        `folder`, `is_used`: see `prepare`. `name`: of this server in the database, unless the URL gives one.
        `shared`: other servers may use the database, too; one that `reads_only` makes and converts nothing.
        Raises DataDirLocked naming the holder, StoreUnavailable,
        StoreError, ConfigError, CorruptStore.
        """
        self._url, self.server, self.is_shared, self.reads_only = url, token_hex(16), shared, reads_only
        self._outage = Outage(described(url))
        self.name = name
        self._dialect = PostgresDialect()
        self._connections = set[PostgresConnection]()
        self._local = threading.local()
        self.known = LastWrite()  # by any server, as far as this one knows all writes
        self._next = LastWrite()  # the one that may follow, until its COMMIT has an answer
        self.pid = 0  # of the connection that writes
        self._announced: dict[str, str] = {}  # see `announce`
        self._locked_at, self._n_locks = 0.0, 0  # of the lock of the database
        self._is_closing, self._is_refusing = False, False
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="store-read")
        self._scanner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-scan")
        try:
            self._writer.submit(self._begin, folder, is_used=is_used).result()
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

        `then` is called after the transaction has ended, even if the caller is cancelled. `makes_room` is of
        no use here: the disk of the database is not ours. Raises StoreReadOnly.
        """
        if self.reads_only:
            raise StoreReadOnly("the database: the server is read-only")

        def transact() -> Result:
            try:
                return self._transact(work, step)
            finally:
                then()

        return await asyncio.get_running_loop().run_in_executor(self._writer, transact)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` in a read-only transaction. All of its statements see the same commit."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, work)

    async def scan(self, work: Work[Result]) -> Result:
        """As `read`, for work that may take a second: one at a time, so that it never keeps readers busy."""
        return await asyncio.get_running_loop().run_in_executor(self._scanner, self._query, work)

    def read_now(self, work: Work[Result]) -> Result:
        """As `read`, but blocking."""
        return self._readers.submit(self._query, work).result()

    def require_writable(self) -> None:
        """Raise StoreUnavailable while the database is out of reach, has lost writes or is used by another
        server, StoreReadOnly for a standby, which does for a server that only reads. Blocking.
        """
        self._readers.submit(self._require_writable).result()

    def know(self, last: LastWrite) -> None:
        """Note that this server knows all writes up to one, whoever made them."""
        if last.number > self.known.number:
            self.known = last

    def live(self) -> None:
        """Hold the lock of the database, also after the connection was lost, and show there how far this
        server is. Blocking.

        Raises StoreUnavailable, DataDirLocked.
        """
        self._writer.submit(self._do, lambda db: servers.show(db, self.name, self.known.number)).result()

    @asynccontextmanager
    async def writing_alone(self) -> AsyncIterator[None]:
        """Let no other server write inside the block. Raises StoreUnavailable.

        A server whose connection is lost does not write alone any more.
        """
        loop = asyncio.get_running_loop()
        try:
            if self.is_shared:
                await loop.run_in_executor(self._writer, self._do, servers.stop_writes)
            yield
        finally:
            if self.is_shared:
                await asyncio.shield(loop.run_in_executor(self._writer, self._go_on))

    def announce(self, what: str, note: str) -> None:
        """Say something to the other servers, as long as this one is alive. Blocking."""
        if self.reads_only:
            return
        self._announced[what] = note
        self._writer.submit(self._do, lambda db: announcements.put(db, {what: note})).result()

    def withdraw(self, what: str, *, of_all: bool = False) -> None:
        """Say something no more; `of_all`: nobody does. Blocking."""
        if self.reads_only:
            return
        self._announced.pop(what, None)
        self._writer.submit(self._do, lambda db: announcements.remove(db, what, of_all=of_all)).result()

    @property
    def has_come_back(self) -> bool:
        """Whether the connection was lost and made again just now, so that other servers may do that, too."""
        return self._n_locks > 1 and time.monotonic() - self._locked_at < COME_BACK_S

    def n_bytes(self) -> int:
        """The bytes of the tables with their indexes. Blocking."""
        return int(self.read_now(lambda db: db.execute(_BYTES).fetchone()[0]))

    def report(self) -> DatabaseReport:
        """The state of the database. Blocking."""
        number = n_behind = n_servers = None
        with suppress(StoreError):
            number, n_servers = self._readers.submit(self._query, self._seen, waits=False).result()
            n_behind = max(0, number - self.known.number)
        statuses = [db.raw.info.transaction_status for db in list(self._connections) if not db.raw.closed]
        return DatabaseReport(
            n_connections=len(statuses),
            n_connections_in_use=sum(one != TransactionStatus.IDLE for one in statuses),
            n_outages=self._outage.n,
            is_available=number is not None,
            write=self.known.number,
            n_behind=n_behind,
            n_servers=n_servers,
        )

    def close(self) -> None:
        """Finish submitted work, then close the connections, which gives the lock back. Blocking."""
        self._is_closing = True
        for executor in (self._writer, self._readers, self._scanner):
            executor.shutdown()
        for db in self._connections:
            db.raw.close()

    def last_write(self, db: PostgresConnection) -> LastWrite:
        """The last write of all servers, in a transaction that reads. Raises StoreUnavailable if the database
        is another one than this server knows: what it holds in memory would be wrong.
        """
        known = self.known, self._next
        last = writes.last_write(db)
        is_known = last == self.known or self._follows(last)
        if not is_known and known == (self.known, self._next):  # no own write has ended meanwhile
            self._require_known(db, last)
        return last

    def _follows(self, last: LastWrite) -> bool:
        """Whether a write is the own one whose COMMIT has no answer yet, behind all that are known."""
        return last == self._next and last.number > self.known.number

    def _seen(self, db: PostgresConnection) -> tuple[int, int]:
        """The number of the last write, and of the servers that live."""
        n_others = len(servers.others_of(db, self.pid))
        return writes.last_write(db).number, n_others + (0 if self.reads_only else 1)

    def _require_writable(self) -> None:
        def work(db: PostgresConnection) -> bool:
            self.last_write(db)
            return db.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)

        if self._query(work, waits=False) and not self.reads_only:
            raise StoreReadOnly("the database takes no writes, as a standby does")

    def _require_known(self, db: PostgresConnection, last: LastWrite) -> None:
        """Raise StoreUnavailable unless the database has all that this server knows, and it alone has written
        what other servers may not.
        """
        if writes.has_lost(db, self.known, last):
            raise self._refusal(_LOST)
        if last.number != self.known.number and not self.is_shared:
            raise self._refusal(_TAKEN)

    def _begin(self, folder: FolderId, *, is_used: bool) -> None:
        """Take the database over. Runs in the thread of the writer."""
        try:
            db = self._open()
        except psycopg.Error as error:
            raise StoreUnavailable(
                f"the database {described(self._url)} cannot be reached: {reason_of(error)}"
            ) from error
        try:
            require_usable(db)
            self._lock(db)
            with postgres_errors_translated(), db.raw.transaction():
                if self.reads_only:
                    require_prepared(db, folder)
                else:
                    prepare(db, folder, is_used=is_used)
                self.known = writes.last_write(db)
        except BaseException:
            self._forget(db)
            raise
        self._local.db = db

    def _do(self, work: Callable[[PostgresConnection], object]) -> None:
        """Do something with the connection that writes, outside of a transaction."""
        retries = Retries(self._outage, waits=False)
        while True:
            db: PostgresConnection | None = None
            try:
                db = self._connection(is_writer=True)
                work(db)
                return
            except psycopg.Error as error:
                self._leave(db, error, retries)

    def _go_on(self) -> None:
        """Let others write again. A connection that was lost has done so."""
        db: PostgresConnection | None = getattr(self._local, "db", None)
        if db is None:
            return
        try:
            servers.go_on(db)
        except psycopg.Error:
            self._roll_back(db)

    def _transact(self, work: Work[Result], step: AnyStep) -> Result:
        id, in_doubt, retries = token_hex(16), list[tuple[Result, LastWrite]](), Retries(self._outage)
        while True:
            db: PostgresConnection | None = None
            try:
                db = self._connection(is_writer=True)
                db.execute("BEGIN")
                last = writes.last_write(db, locked=True)  # waits for a COMMIT that still runs
                if not (in_doubt and writes.again(db, in_doubt[0][1])):
                    in_doubt.clear()
                    in_doubt.append(self._work(db, work, id, last))
                result, self._next = in_doubt[0]
                self._commit(db, step)
                self._note(self._next)
                self._outage.end()
                return result
            except psycopg.Error as error:
                self._leave(db, error, retries, in_doubt=bool(in_doubt) and not self._is_closing)
            except DataDirLocked:  # by the session whose COMMIT is in doubt, while that waits for a standby
                if not in_doubt or self._is_closing:
                    raise
            except BaseException:
                self._roll_back(db)
                raise

    def _work(
        self, db: PostgresConnection, work: Work[Result], id: str, last: LastWrite
    ) -> tuple[Result, LastWrite]:
        """Do the work of a transaction, and number it."""
        self._next = self.known
        self._require_known(db, last)
        db.is_behind = last.generation != self.known.generation
        db.knows_all = last.number == self.known.number
        result = work(db)
        vector_tables.flush(db)
        if not self.is_shared:
            db.changes.clear()  # nobody reads them
        return result, writes.flush(db, last.number + 1, id, self.server)

    def _note(self, own: LastWrite) -> None:
        """Know an own write, unless others have written before it: then it is among the next news."""
        if own.number == self.known.number + 1:
            self.known = own

    def _commit(self, db: PostgresConnection, step: AnyStep) -> None:
        """Commit. Raises NotReplicated if the wait for a synchronous standby was cancelled."""
        db.is_unreplicated = False
        with around(step):
            db.execute("COMMIT")
        if db.is_unreplicated:
            LOG.warning(
                "a COMMIT is not acknowledged, as its wait for a standby was cancelled: it waits again"
            )
            raise NotReplicated

    def _query(self, work: Work[Result], *, waits: bool = True) -> Result:
        retries = Retries(self._outage, waits=waits)
        while True:
            db: PostgresConnection | None = None
            try:
                db = self._connection(is_writer=False)
                db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                result = work(db)
                if self._outage.is_on:
                    writes.last_write(db)  # work that needs no table does not end an outage
                db.execute("ROLLBACK")
                self._outage.end()
                return result
            except psycopg.Error as error:
                self._leave(db, error, retries)
            except BaseException:
                self._roll_back(db)
                raise

    def _connection(self, *, is_writer: bool) -> PostgresConnection:
        """The connection of this thread; another one if that is gone."""
        db: PostgresConnection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._open()
            try:
                if is_writer:
                    last = writes.last_write(db)
                    if not self._follows(last):
                        self._require_known(db, last)
                    self._lock(db)
                    announcements.put(db, self._announced)
            except BaseException:
                self._forget(db)
                raise
            self._local.db = db
        return db

    def _open(self) -> PostgresConnection:
        db = connect(self._url, self.name, self._dialect, reads_only=self.reads_only)
        self._connections.add(db)
        return db

    def _lock(self, db: PostgresConnection) -> None:
        """Take the lock of the database. Raises DataDirLocked naming the holder."""
        until = time.monotonic() + LOCK_WAIT_S
        while not servers.lock(db, shared=self.is_shared, reads_only=self.reads_only):
            if time.monotonic() > until:
                raise DataDirLocked(
                    f"the database {described(self._url)} is in use by another server "
                    f"({'; '.join(servers.others(db)) or 'unknown'}): several servers can use it if all of "
                    "them have the same DIPTYCH_ORIGINALS"
                )
            time.sleep(PAUSE_S)
        self.pid = db.raw.info.backend_pid
        self._locked_at, self._n_locks = time.monotonic(), self._n_locks + 1
        db.is_alone = not self.is_shared

    def _leave(
        self, db: PostgresConnection | None, error: psycopg.Error, retries: Retries, *, in_doubt: bool = False
    ) -> None:
        """Give a failed transaction up; return if it is to be tried again. Raises our error otherwise."""
        self._roll_back(db)
        is_gone = db is not None and db not in self._connections
        if not retries.again(error, is_gone=is_gone, in_doubt=in_doubt):
            raise translated(error) from error

    def _roll_back(self, db: PostgresConnection | None) -> None:
        """End a transaction that failed, and forget a connection that is broken."""
        if db is None:
            return
        db.tables.clear()  # those that it made are gone
        db.vectors.clear()
        db.changes.clear()
        with suppress(psycopg.Error):
            db.execute("ROLLBACK")
        if db.raw.closed or db.raw.broken:
            self._forget(db)
            self._local.db = None

    def _forget(self, db: PostgresConnection) -> None:
        db.raw.close()
        self._connections.discard(db)

    def _refusal(self, reason: str) -> StoreUnavailable:
        """The error of a database that this process cannot use any more; the log has it once."""
        if not self._is_refusing:
            self._is_refusing = True
            LOG.error("nothing is asked of the database any more: %s", reason)
        return StoreUnavailable(reason)
