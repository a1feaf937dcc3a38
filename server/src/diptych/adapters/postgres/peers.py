"""The other servers of the database, and what they have written."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from diptych.adapters.postgres import announcements, servers, writes
from diptych.adapters.postgres.connection import PostgresConnection
from diptych.adapters.postgres.threads import PostgresThreads
from diptych.adapters.postgres.writes import LastWrite
from diptych.adapters.sqlite.metadata.filter_cache import FilterCache
from diptych.core.collections.stored.peers import Announced, News


class PostgresPeers:
    """Satisfies `diptych.core.collections.stored.peers.Peers`."""

    def __init__(self, threads: PostgresThreads, filters: FilterCache) -> None:
        self._threads = threads
        self._filters = filters

    @property
    def is_alone(self) -> bool:
        """Whether no other server can use the database."""
        return not self._threads.is_shared

    @property
    def name(self) -> str:
        """The name by which others know this server; empty where there are none."""
        return "" if self.is_alone else self._threads.name

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
        self._threads.know(LastWrite(news.write, news.id, news.generation))

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

    def writing_alone(self) -> AbstractAsyncContextManager[None]:
        """Let no other server write inside the block. Raises StoreUnavailable."""
        return self._threads.writing_alone()

    async def announce(self, what: str, note: str = "") -> None:
        """Say something to the others, as long as this server is alive."""
        await asyncio.to_thread(self._threads.announce, what, note)

    async def withdraw(self, what: str, *, of_all: bool = False) -> None:
        """Say something no more; `of_all`: nobody does."""
        await asyncio.to_thread(self._threads.withdraw, what, of_all=of_all)

    async def lacking_announcement(self, what: str) -> list[str]:
        """The others that are alive, or may come back, and have not announced something without a note."""
        if self.is_alone:
            return []
        if self._threads.has_come_back:
            return ["servers that may come back, as this one has"]
        return await self._threads.read(lambda db: announcements.lacking(db, what, self._threads.pid))

    async def announced(self, prefix: str) -> Mapping[str, Announced]:
        """What servers have announced that begins with a prefix, those that are gone, too.

        Nothing where this server only reads: its role, or its standby, may not show who is alive.
        """
        if self.is_alone or self._threads.reads_only:
            return {}
        return await self._threads.read(lambda db: announcements.found(db, prefix))
