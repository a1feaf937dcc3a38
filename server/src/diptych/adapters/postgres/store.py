"""The store of collections, images and embeddings in a PostgreSQL database."""

import asyncio
from contextlib import suppress
from pathlib import Path

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.database_id import FolderIds, Originals
from diptych.adapters.files.known_write import keep_known_write, known_write
from diptych.adapters.postgres.peers import PostgresPeers
from diptych.adapters.postgres.threads import PostgresThreads
from diptych.adapters.postgres.vector_rows import PostgresVectorRows
from diptych.adapters.postgres.writes import has_write
from diptych.adapters.sqlite.catalogue import SqlCatalogue
from diptych.adapters.sqlite.libraries import SqlLibraries
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.adapters.sqlite.row_reader import SqlRows
from diptych.adapters.sqlite.row_writer import SqlRowWriter
from diptych.adapters.sqlite.word_rows import SqlWords
from diptych.core.types import DatabaseReport
from diptych.errors import StoreError


class PostgresStore:
    """Satisfies `core.collections.stored.ports.Records`. Holds the locks of the data folder and the database.

    The folder of the originals names the database by an id, and so does the data folder.
    """

    def __init__(
        self,
        url: str,
        data_dir: Path,
        lock: DataLock | None = None,
        *,
        name: str = "diptych",
        is_used: bool = False,
        originals: Originals | None = None,
        reads_only: bool = False,
    ) -> None:
        """Open the store, blocking. `name`: of this server in the database. `is_used`: the originals' folder
        has files that a database must know of.

        `originals`: that folder, or object store, which other servers of the database share; None: the data
        folder. `reads_only`: write nothing but to the data folder, which is of this server alone. Raises
        DataDirLocked naming the holder, StoreUnavailable, StoreError, CorruptStore, ConfigError.
        """
        self._lock, self._data_dir = lock or DataLock(data_dir), data_dir
        try:
            folder = FolderIds(data_dir, originals or data_dir)
            self._threads = PostgresThreads(
                *(url, folder),
                name=name,
                is_used=is_used,
                shared=originals is not None,
                reads_only=reads_only,
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
        self.vectors = PostgresVectorRows(self._threads)
        self.peers = PostgresPeers(self._threads, filters)

    @property
    def threads(self) -> PostgresThreads:
        """The threads, for other stores in the same database."""
        return self._threads

    def n_originals_now(self) -> int:
        """The number of image files that rows refer to. Blocking."""
        query = "SELECT count(DISTINCT sha256) FROM images WHERE kept = 1"
        return int(self._threads.read_now(lambda db: db.execute(query).fetchone()[0]))

    def keep_known_now(self) -> None:
        """Note in the data folder up to which write this server knows the database. Blocking."""
        known = self._threads.known
        keep_known_write(self._data_dir, known.number, known.id)

    def lacks_known_now(self) -> bool:
        """Whether the database lacks the write that the data folder notes, or is too far ahead to tell.

        Blocking.
        """
        known = known_write(self._data_dir)
        return known is not None and not self._threads.read_now(lambda db: has_write(db, *known))

    async def require_sound(self) -> None:
        """Nothing: PostgreSQL checks its own pages."""

    def require_sound_now(self) -> None:
        """As `require_sound`."""

    async def require_writable(self) -> None:
        """Raise StoreUnavailable, StoreReadOnly while writes fail."""
        await asyncio.to_thread(self._threads.require_writable)

    async def n_bytes(self) -> int:
        """The bytes of the tables with their indexes."""
        return await asyncio.to_thread(self._threads.n_bytes)

    async def report(self) -> DatabaseReport:
        """The state of the database."""
        return await asyncio.to_thread(self._threads.report)

    async def close(self) -> None:
        """Finish running work and give the locks back."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`, but blocking."""
        with suppress(StoreError):
            if known_write(self._data_dir) is not None:
                self.keep_known_now()
        self._threads.close()
        self._lock.close()
