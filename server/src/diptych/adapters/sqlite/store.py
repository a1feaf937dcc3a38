"""The store of collections, images and embeddings in one SQLite file."""

import asyncio
from pathlib import Path

from diptych.adapters.files.data_lock import LOCK_FILE, DataLock
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite.catalogue import SqlCatalogue
from diptych.adapters.sqlite.libraries import SqlLibraries
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.row_reader import SqlRows
from diptych.adapters.sqlite.row_writer import SqlRowWriter
from diptych.adapters.sqlite.threads import SqliteThreads
from diptych.adapters.sqlite.vector_rows import SqliteVectorRows
from diptych.adapters.sqlite.word_rows import SqlWords
from diptych.core.collections.stored.peers import NoPeers

DATABASE = "diptych.sqlite3"


class SqliteStore:
    """Satisfies `core.collections.stored.ports.Records`. Holds the data folder's lock while it is open."""

    def __init__(
        self,
        data_dir: Path,
        quota: Quota | None = None,
        lock: DataLock | None = None,
        *,
        read_only: bool = False,
        checks_in_background: bool = False,
    ) -> None:
        """Open the store, blocking. Raises DataDirLocked naming the holder, StoreError, CorruptStore.

        A caller that holds the lock of the folder already passes it as `lock`; the store then owns it.
        `read_only`: see SqliteThreads. With `checks_in_background` the store can be read while its database
        is checked: the caller changes nothing else in the data folder before `require_sound`.
        """
        self._lock = lock or (DataLock.shared if read_only else DataLock)(data_dir)
        try:
            self._threads = SqliteThreads(
                data_dir / DATABASE,
                quota,
                read_only=read_only,
                checks_in_background=checks_in_background,
                lock_file=None if read_only else data_dir / LOCK_FILE,
            )
        except BaseException:
            self._lock.close()
            raise
        filters = FilterCache()  # cleared by all changes of images but pure additions
        self.catalogue = SqlCatalogue(self._threads, filters.clear)
        self.rows = self.filtered = SqlRows(self._threads, filters)
        self.words = SqlWords(self._threads, filters)
        self.writer = SqlRowWriter(self._threads, filters.clear)
        self.libraries = SqlLibraries(self._threads, filters.clear)
        self.vectors = SqliteVectorRows(self._threads)
        self.peers = NoPeers()

    @property
    def threads(self) -> SqliteThreads:
        """The threads, for other stores in the same database."""
        return self._threads

    def keep_known_now(self) -> None:
        """Nothing: files of the data folder and its database are one."""

    async def require_sound(self) -> None:
        """Wait for the check of the database. Raises CorruptStore naming the first fault."""
        await asyncio.to_thread(self.require_sound_now)

    def require_sound_now(self) -> None:
        """As `require_sound`, but blocking."""
        self._threads.require_sound()

    async def require_writable(self) -> None:
        """Raise StoreUnavailable, StoreReadOnly while writes fail; a read-only server has none."""
        await asyncio.to_thread(self._threads.require_writable)

    async def n_bytes(self) -> int:
        """The bytes of the database and its log on the disk."""
        return await asyncio.to_thread(self._threads.n_bytes)

    async def report(self) -> None:
        """Nothing: the database is a file of the data folder."""

    async def close(self) -> None:
        """Finish running work and unlock the data folder."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`, but blocking."""
        self._threads.close()
        self._lock.close()
