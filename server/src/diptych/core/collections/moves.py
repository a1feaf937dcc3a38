"""Moves of collections to vectors of another version, as rollouts make them."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors, IndexOpener
from diptych.core.collections.ports import RecordStore
from diptych.core.collections.reembed import Pace, Reembedder
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.versions import LoadedVersion
from diptych.errors import Conflict, DiptychError

log = logging.getLogger(__name__)


class Moves:
    """Gives collections new vectors beside those that answer searches, embeds images for them, and switches.

    The vectors are a collection's `next` until the switch, then its `current`; those that answered before may
    be kept as its `previous`, for a rollback. Methods raise StoreError when the data folder fails.
    """

    def __init__(
        self,
        *,
        registry: CollectionRegistry,
        records: RecordStore,
        opener: IndexOpener,
        reembedder: Reembedder,
        write_queue: SerialWriteQueue,
    ) -> None:
        self._registry = registry
        self._records = records
        self._opener = opener
        self._reembedder = reembedder
        self._write_queue = write_queue

    async def require_embeddable(self, collection: LoadedCollection, identity: str) -> None:
        """Raise Conflict if the collection has rows without an image and without a vector of the identity."""
        missing = await collection.read(lambda name: self._records.missing(name, identity))
        if n_unkept := sum(not kept for kept in missing.values()):
            raise Conflict(
                f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded again"
            )

    async def prepare(self, collection: LoadedCollection, version: LoadedVersion) -> None:
        """Give the collection `next` vectors of a version, filled with what is stored; drop other ones.

        The vectors that are kept for a rollback are used if they are of that identity. Raises NotFound once
        the collection is dropped.
        """
        await self._write_queue.run(self._prepare(collection, version))

    async def open_previous(self, collection: LoadedCollection, version: LoadedVersion) -> None:
        """Give the collection vectors of the version that served before. Raises as `prepare`."""
        await self._write_queue.run(self._open_previous(collection, version))

    async def abandon(self, collection: LoadedCollection) -> None:
        """Drop the `next` vectors of a collection; those that answered searches before are kept."""
        await self._write_queue.run(self._abandon(collection))

    async def embed_pending(self, collection: LoadedCollection, vectors: IndexedVectors, pace: Pace) -> None:
        """Embed the images that the vectors lack now. Raises NotReady."""
        await self._reembedder.run(collection, vectors, pace)

    async def embed_added(self, collection: LoadedCollection, keys: Sequence[int]) -> None:
        """Embed added images for the rollout that is under way, so that adding never outruns it."""
        vectors = collection.next
        if vectors is None or vectors is collection.writing:
            return
        try:
            with self._opener.hold(vectors):
                await self._reembedder.embed(collection, vectors, keys)
        except DiptychError as error:  # the rollout tries again, and shows what fails
            log.info("collection %s: added images wait for the rollout: %s", collection.name, error)

    async def switch(
        self,
        collections: Callable[[], Sequence[LoadedCollection]],
        store: Callable[[Sequence[LoadedCollection]], Awaitable[None]],
        done: Callable[[], None],
        *,
        keeps_previous: bool,
    ) -> None:
        """Let collections answer searches with their `next` vectors, all in one write.

        `collections` says which. What they still lack is embedded in the write, in which nothing can be
        added. Then `collections` is called again, since images without a file may have turned up. `store`
        makes the move durable; what it raises is raised, and nothing has changed. Then searches, and `done`,
        change without anything in between.
        """
        await self._write_queue.run(self._switch(collections, store, done, keeps_previous))

    async def _prepare(self, collection: LoadedCollection, version: LoadedVersion) -> None:
        collection.require_not_dropped()
        vectors = await self._opener.open(version)
        previous = collection.previous
        if previous is not None and previous.identity == vectors.identity:
            self._opener.retire(vectors)
            vectors, collection.previous = previous, None
            vectors.failed.clear()  # they are tried again
        else:
            await self._registry.fill(collection, vectors)
        await self._abandon(collection)
        collection.next, collection.reason = vectors, ""

    async def _open_previous(self, collection: LoadedCollection, version: LoadedVersion) -> None:
        collection.require_not_dropped()
        vectors = await self._opener.open(version)
        await self._registry.fill(collection, vectors)
        if collection.previous is not None:
            self._opener.retire(collection.previous)
        collection.previous, vectors.was_current = vectors, True

    async def _abandon(self, collection: LoadedCollection) -> None:
        if collection.next is None:
            return
        abandoned, collection.next = collection.next, None
        if abandoned.was_current and collection.previous is None:
            collection.previous = abandoned
        else:
            self._opener.retire(abandoned)

    async def _switch(
        self,
        collections: Callable[[], Sequence[LoadedCollection]],
        store: Callable[[Sequence[LoadedCollection]], Awaitable[None]],
        done: Callable[[], None],
        keeps_previous: bool,
    ) -> None:
        for collection in collections():
            if collection.next is not None:
                await self._reembedder.finish_in_write(collection, collection.next)
        moving = collections()
        await store(moving)
        for collection in moving:  # awaits nothing
            for vectors in collection.switch(keeps_previous=keeps_previous):
                self._opener.retire(vectors)
            collection.report_metrics()
        done()
