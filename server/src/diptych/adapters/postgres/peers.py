"""The other servers of the database, and what they have written."""

import asyncio

from diptych.adapters.postgres import servers, writes
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.postgres.threads import PostgresThreads
from diptych.adapters.postgres.writes import LastWrite
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.core.collections.stored.peers import News


class PostgresPeers:
    """Satisfies `diptych.core.collections.stored.peers.Peers`."""

    def __init__(self, threads: PostgresThreads, filters: FilterCache) -> None:
        self._threads = threads
        self._filters = filters

    @property
    def is_alone(self) -> bool:
        """Whether no other server can use the database."""
        return not self._threads.is_shared

    async def lacking(self) -> int | None:
        """The number of the last write, if others have written since the last `news` that were taken.

        A query of one row.
        """
        if self.is_alone:
            return None
        write = (await self._threads.read(self._threads.last_write)).number
        return None if self.knows(write) else write

    def knows(self, write: int) -> bool:
        """Whether news up to a write were taken."""
        return self._threads.known.number >= write

    async def news(self) -> News:
        """What other servers have written since the last news that were taken, in one read."""
        known = self._threads.known

        def work(db: PostgresConnection) -> News:
            return writes.news_since(db, known, self._threads.last_write(db), self._threads.server)

        found = await self._threads.read(work)
        if not found.only_adds:
            self._filters.clear()
        return found

    def take(self, news: News) -> None:
        """Note that this server knows the news."""
        self._threads.know(LastWrite(news.write, news.id, self._threads.known.generation))

    async def live(self) -> None:
        """Hold the lock of the database, also after the connection was lost."""
        await asyncio.to_thread(self._threads.live)

    async def others(self) -> list[str]:
        """The names of the other servers that are alive, the oldest first."""
        if self.is_alone:
            return []
        return await self._threads.read(lambda db: servers.others_of(db, self._threads.pid))

    async def leads(self) -> bool:
        """Whether this server is alive for longer than all others."""
        if self.is_alone:
            return True
        return await self._threads.read(lambda db: servers.is_oldest(db, self._threads.pid))
