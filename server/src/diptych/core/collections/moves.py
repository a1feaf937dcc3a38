"""Build the next snapshot while the current one answers, and switch to it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import Records
from diptych.core.collections.upkeep.index_upkeep import IndexUpkeep
from diptych.core.collections.upkeep.indexes import Indexes, all_missing
from diptych.core.collections.upkeep.reembed import Pace, Reembedder
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.concurrency.shared import Shared
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.version import Version
from diptych.core.types import Target
from diptych.errors import Conflict, DiptychError, NotFound, StoreUnavailable

log = logging.getLogger(__name__)

Moving = tuple[Collection, Pair]  # a collection with its vectors in the next snapshot


class Moves:
    """Gives collections vectors of another version in the next snapshot, embeds images for it, and switches.

    Methods raise StoreError when the data folder fails.
    """

    def __init__(
        self,
        *,
        serving: Serving,
        records: Records,
        indexes: Indexes,
        reembedder: Reembedder,
        upkeep: IndexUpkeep,
        write_queue: SerialWriteQueue,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up`, inside a write, knows what other servers have written."""
        self._catch_up = catch_up
        self._serving = serving
        self._records = records
        self._indexes = indexes
        self._reembedder = reembedder
        self._upkeep = upkeep
        self._write_queue = write_queue

    async def require_embeddable(self, collection: Collection, identity: str) -> None:
        """Raise Conflict if the collection has rows without an image and without a vector of the identity."""
        missing = await all_missing(self._records.vectors, collection.number, identity)
        if n_unkept := sum(not kept for kept in missing.values()):
            raise Conflict(
                f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded again"
            )

    async def begin(self, version: Shared[Version]) -> None:
        """Begin the next snapshot. What is kept for a rollback is closed, unless this goes back to it or only
        lets collections follow the version that serves.
        """
        await self._write_queue.run(self._begin(version))

    async def prepare(self, collection: Collection) -> Pair | None:
        """Give the collection vectors in the next snapshot, filled with what is stored; None once it is
        dropped.
        """
        return await self._write_queue.run(self._prepare(collection))

    async def leave(self, collection: Collection) -> None:
        """Let the collection keep the vectors that it has."""
        await self._write_queue.run(self._leave(collection))

    async def keep(self, collection: Collection, version: Shared[Version]) -> None:
        """Keep vectors of the version that served before for a rollback. Raises NotFound."""
        await self._write_queue.run(self._keep(collection, version))

    async def abandon(self) -> None:
        """Drop the next snapshot; the stored vectors stay."""
        await self._write_queue.run(self._abandon())

    async def embed_pending(self, collection: Collection, pair: Pair, pace: Pace) -> None:
        """Embed the images that the vectors lack now. Raises NotReady."""
        await self._reembedder.run(collection, pair, pace)

    async def train(self, collection: Collection, pair: Pair) -> None:
        """Fit the index of the next snapshot to its rows, before searches use it. Raises NotReady."""
        await self._upkeep.tend(collection, pair)

    async def embed_added(self, collection: Collection, keys: Sequence[int]) -> None:
        """Embed added images for the rollout that is under way, so that adding never outruns it."""
        filled = self._serving.next_pair(collection.number)
        if filled is None:
            return
        try:
            with filled.use() as pair:
                await self._reembedder.embed(collection, pair, keys)
        except DiptychError as error:  # the rollout tries again, and shows what fails
            log.info("collection %s: added images wait for the rollout: %s", collection.name, error)

    async def switch(
        self,
        moving: Callable[[], Sequence[Moving]],
        store: Callable[[Sequence[Moving], Sequence[Collection]], Awaitable[None]],
        done: Callable[[], None],
    ) -> None:
        """Answer with the next snapshot, all in one write.

        `moving` are the collections in it. What they lack is embedded in the write, in which nothing can be
        added; those with images that were added without a file keep what they have. `store` makes the switch
        durable, of those that move and those that were left; what it raises is raised, and nothing has
        changed. `done` is called when searches have changed, without anything in between. No other server
        writes meanwhile.
        """
        await self._write_queue.run(self._switch(moving, store, done))

    async def open_in_next(self, collection: Collection) -> None:
        """Give a collection that another server has made vectors in the next snapshot, if there is one. Only
        inside a write.
        """
        if self._serving.next is not None and collection.number not in self._serving.next.pairs:
            with suppress(NotFound):  # it was dropped since
                await self._prepare(collection)

    def require_loaded(self, active: Target) -> None:
        """Raise StoreUnavailable until this server has loaded the version that others serve."""
        next, current = self._serving.next, self._serving.current.version.target
        if current != active and (next is None or next.version.target != active):
            raise StoreUnavailable(
                f"other servers of the database serve {active.exact} since, which this one still loads"
            )

    async def follow_switch(
        self, collections: Iterable[Collection], identities: Mapping[int, str | None], active: Target
    ) -> None:
        """Switch as another server has: to the version that serves now, which was loaded before.

        `identities` are those of the vectors that collections have now. Only inside a write.
        """
        serving = self._serving
        if serving.next is None or serving.next.version.target != active:
            serving.begin(serving.current.shared_version)
        moved = list[Collection]()
        assert serving.next is not None, "begun before"
        for collection in collections:
            if identities.get(collection.number) != serving.next.version.identity:
                serving.set_next(collection.number, None)
                continue
            await self.open_in_next(collection)
            if (pair := serving.next.pairs.get(collection.number)) is not None:
                if collection.pair is None or pair.index is not collection.pair.index:
                    pair.index.failed |= pair.index.unindexed  # the other server has tried them
                moved.append(collection)
        serving.switch()
        _note_moved(moved)

    async def _begin(self, version: Shared[Version]) -> None:
        previous, current = self._serving.previous, self._serving.current
        if previous is not None and version.value not in (previous.version, current.version):
            self._serving.drop_previous()
        self._serving.begin(version)

    async def _prepare(self, collection: Collection) -> Pair | None:
        if collection.dropped:
            return None
        assert self._serving.next is not None, "begun before"
        async with self._vectors(collection, self._serving.next.shared_version) as pair:
            if collection.pair is None or pair.index is not collection.pair.index:
                pair.index.failed.clear()  # they are tried again
            self._serving.set_next(collection.number, pair)
            return pair

    @asynccontextmanager
    async def _vectors(self, collection: Collection, version: Shared[Version]) -> AsyncIterator[Pair]:
        """The collection's vectors of a version: in an index that a snapshot has already, or in a new one."""
        for there in self._serving.pairs(collection.number):
            if there.identity == version.value.identity:
                yield Pair(version, there.shared_index)
                return
        async with self._indexes.pair(version, collection) as pair:
            yield pair

    async def _leave(self, collection: Collection) -> None:
        self._serving.set_next(collection.number, None)

    async def _keep(self, collection: Collection, version: Shared[Version]) -> None:
        if collection.dropped:
            raise NotFound(f"collection {collection.name!r} was dropped")
        if self._serving.previous is None or self._serving.previous.version is not version.value:
            self._serving.keep(version)
        async with self._vectors(collection, version) as pair:
            self._serving.set_previous(collection.number, pair)

    async def _abandon(self) -> None:
        self._serving.abandon()

    async def _switch(
        self,
        moving: Callable[[], Sequence[Moving]],
        store: Callable[[Sequence[Moving], Sequence[Collection]], Awaitable[None]],
        done: Callable[[], None],
    ) -> None:
        left = list[Collection]()
        async with self._records.peers.writing_alone():
            await self._catch_up()
            for collection, pair in moving():
                await self._reembedder.finish_in_write(collection, pair)
                if pair.index.without_image:
                    await self._leave(collection)
                    left.append(collection)
            moved = moving()
            await store(moved, left)
            self._serving.switch()  # nothing is awaited between the switch in the store and this one
            _note_moved(collection for collection, _ in moved)
            done()


def _note_moved(moved: Iterable[Collection]) -> None:
    for collection in moved:
        collection.reason, collection.stays = "", ""
        collection.report_metrics()
