"""Follow what other servers write: a server answers with all that any of them had acknowledged before."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from diptych.core.collections.moves import Moves
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.peers import News, RowChange
from diptych.core.collections.stored.ports import Records
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.snapshot import Serving
from diptych.errors import DiptychError, StoreUnavailable

log = logging.getLogger(__name__)

Found = TypeVar("Found")

_is_inside = ContextVar("inside a write", default=False)  # of the tasks of `between_writes`
LOOK_S = 1.0  # between two looks without a request
AT_ONCE = 4_096  # rows in one change of an index, which searches wait for


@dataclass
class _Changes:
    """What writes did to the rows of one collection, in sum."""

    added: dict[int, None] = field(default_factory=dict)  # keys of rows that are still there, in order
    removed: list[int] = field(default_factory=list)
    embedded: dict[str, set[int]] = field(default_factory=dict)  # keys by identity
    counts: list[tuple[int, int]] = field(default_factory=list)  # writes, and by how many rows each grew

    def add(self, change: RowChange) -> None:
        """Take in the next change."""
        if change.kind == "added":
            self.added |= dict.fromkeys(change.keys)
            self.counts.append((change.write, len(change.keys)))
        elif change.kind == "removed":
            for key in change.keys:
                self.added.pop(key, None)
            self.removed += change.keys
            self.counts.append((change.write, -len(change.keys)))
        else:
            self.embedded.setdefault(change.identity or "", set()).update(change.keys)

    def n_more(self, as_of: int) -> int:
        """By how many rows the collection grew after a write."""
        return sum(n for write, n in self.counts if write > as_of)


class Follower:
    """Brings collections and indexes up to date with the writes of other servers, in turns among own writes.

    Vectors are read by the keys of the rows, as they are by then; so a row that came twice, or is gone again,
    does no harm.
    """

    def __init__(
        self,
        *,
        registry: CollectionRegistry,
        serving: Serving,
        records: Records,
        moves: Moves,
        write_queue: SerialWriteQueue,
    ) -> None:
        self.obstacle = ""  # why this server cannot follow the others, and answers nothing
        self._registry = registry
        self._moves = moves
        self._serving = serving
        self._records = records
        self._write_queue = write_queue

    async def catch_up(self) -> None:
        """Know all that any server had acknowledged when this was called.

        Raises StoreUnavailable, NotReady.
        """
        write = await self._records.peers.lacking()
        if write is not None:
            in_write = self._know(write)
            await (in_write if _is_inside.get() else self._write_queue.run(in_write))

    async def between_writes(self, work: Callable[[], Awaitable[Found]]) -> Found:
        """Run `work`, which may catch up, in its turn between two writes. Raises NotReady."""

        async def turn() -> Found:
            _is_inside.set(True)
            await self.catch_up_in_write()
            return await work()

        return await self._write_queue.run(turn())

    async def catch_up_in_write(self) -> None:
        """As `catch_up`, only inside a write."""
        write = await self._records.peers.lacking()
        if write is not None:
            await self._know(write)

    async def run(self) -> None:
        """Be alive, and catch up again and again, so that a request has little to wait for."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._records.peers.live()
                await self.catch_up()
            except DiptychError as error:
                log.debug("the writes of other servers are not known: %s", error)

    async def _know(self, write: int) -> None:
        """Apply all news, unless those up to a write were applied while this waited for its turn."""
        if not self._records.peers.knows(write):
            await self._apply(await self._records.peers.news())

    async def _apply(self, news: News) -> None:
        self._require_loaded(news)
        if not news.is_whole:
            log.warning(
                "other servers have written too much since this one looked: all vectors are read anew"
            )
        await self._know_collections(news)
        if news.switched is not None and news.active is not None:
            await self._change_all(news, [one for one in news.changes if one.write <= news.switched])
            identities = {info.number: info.identity for info in news.collections}
            await self._moves.follow_switch(self._registry, identities, news.active)
        await self._change_all(news, [one for one in news.changes if one.write > (news.switched or 0)])
        self._records.peers.take(news)

    def _require_loaded(self, news: News) -> None:
        """Raise StoreUnavailable until what others have switched to is loaded."""
        self.obstacle = ""
        if news.switched is None or news.active is None:
            return
        try:
            self._moves.require_loaded(news.active)
        except StoreUnavailable as error:
            self.obstacle = error.message
            raise

    async def _know_collections(self, news: News) -> None:
        """Take over which collections there are, in all snapshots."""
        next = self._serving.next
        filled = set[int]() if next is None else set(next.pairs)
        known = {collection.number for collection in self._registry} - (set() if news.is_whole else filled)
        await self._registry.follow(news.collections, anew=not news.is_whole)
        for collection in list(self._registry):
            if collection.number not in known:
                await self._moves.open_in_next(collection)

    async def _change_all(self, news: News, found: Sequence[RowChange]) -> None:
        last_changes = {info.number: info.change for info in news.collections}
        changes: dict[int, _Changes] = {}
        for change in found:
            changes.setdefault(change.c, _Changes()).add(change)
        for collection in self._registry:
            if collection.number in changes:
                await self._change(
                    collection,
                    changes[collection.number],
                    last_change=last_changes[collection.number],
                    write=found[-1].write,
                )

    async def _change(
        self, collection: Collection, changes: _Changes, *, last_change: int, write: int
    ) -> None:
        """Change indexes and count: rows come before others go, so that a replaced one is always there.

        `last_change` is that of the collection, `write` that of all servers.
        """
        keys, removed = list(changes.added), changes.removed
        if keys and removed:
            for index in self._serving.indexes(collection.number):
                index.replaced_at = last_change
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            for index in self._serving.indexes(collection.number):
                await self._put(index, some, are_new=True)
        for index in self._serving.indexes(collection.number):
            await self._put(index, sorted(changes.embedded.get(index.identity, set()) & index.unindexed))
            await index.follow(removed, ())
        collection.n_images += changes.n_more(collection.as_of)
        collection.as_of = max(collection.as_of, write)
        collection.report_metrics()

    async def _put(self, index: LiveIndex, keys: Sequence[int], *, are_new: bool = False) -> None:
        """Put the vectors of rows into an index. Rows without one are to be embedded, if they are there."""
        if not keys:
            return
        found = await self._records.vectors.of(keys, index.identity)
        if found:
            await index.fill(list(found), np.stack(list(found.values())), replaced=True)
        lacking = [key for key in keys if key not in found] if are_new else []
        if lacking:
            await index.follow((), list(await self._records.rows.by_key(lacking)))
