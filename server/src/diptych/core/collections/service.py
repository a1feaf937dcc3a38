"""The collections of one data folder: created, described, changed, added to and searched."""

import asyncio
import builtins
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from diptych.core.collections.delete import Deletions
from diptych.core.collections.following import Follower
from diptych.core.collections.images import CollectionImages
from diptych.core.collections.ingest import Ingest
from diptych.core.collections.metadata.words import WordQuery
from diptych.core.collections.moves import Moves
from diptych.core.collections.ranking.nearest import Finder, Nearest
from diptych.core.collections.ranking.searcher import SearchTarget
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.stored.collection import Collection, PairChanged
from diptych.core.collections.stored.duplicates import Collapse, fold_near, fold_same_bytes, fold_same_picture
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.ids import check_collection_name
from diptych.core.collections.stored.originals import Originals
from diptych.core.collections.stored.peers import Peers
from diptych.core.collections.stored.ports import Records
from diptych.core.collections.vectors import VectorIngest
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.vector_checks import check_origin
from diptych.core.job import JobNote
from diptych.core.ports import Metrics
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.timing import noted, stage
from diptych.core.types import (
    Added,
    CollectionChange,
    CollectionInfo,
    CollectionStats,
    Embedding,
    Hit,
    Keep,
    ModelInfo,
    NewImage,
    NewVector,
    Sizes,
    Target,
    TextFields,
    VectorOrigin,
    VersionRef,
    WordMatches,
)
from diptych.errors import Conflict, NotFound, StoreUnavailable

Found = TypeVar("Found")


class Collections:
    """All collections of one data folder.

    Every method that takes a name raises NotFound when there is no such collection, and StoreError when the
    data folder fails. Writes are durable when they return, and run to their end if the caller is cancelled.
    `images` reads, changes and deletes stored images; `moves` gives collections other vectors, for rollouts.
    """

    def __init__(
        self,
        *,
        registry: CollectionRegistry,
        serving: Serving,
        records: Records,
        files: FileReferences,
        originals: Originals,
        deletions: Deletions,
        finder: Finder,
        follower: Follower,
        moves: Moves,
        ingest: Ingest,
        vectors: VectorIngest,
        images: CollectionImages,
        write_queue: SerialWriteQueue,
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._serving = serving
        self._records = records
        self._files = files
        self._originals = originals
        self._deletions = deletions
        self._finder = finder
        self._follower = follower
        self._following = TaskSet()
        self.moves = moves
        self._ingest = ingest
        self._vectors = vectors
        self.images = images
        self._write_queue = write_queue
        self._metrics = metrics

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, and start to embed images that need it."""
        await self._registry.open()
        if not self._records.peers.is_alone:
            self._following.start(self._follower.run(), "following other servers")

    async def close(self) -> None:
        """Stop background embedding, finish the writes that have begun, close the data folder."""
        await self._following.close()
        await self._registry.stop()
        await self._write_queue.close()
        await self._registry.close()
        await self._records.close()

    @property
    def peers(self) -> Peers:
        """The other servers of the database."""
        return self._records.peers

    async def catch_up(self) -> None:
        """Know all that any server of the database had acknowledged when this was called.

        Raises StoreUnavailable, NotReady.
        """
        await self._follower.catch_up()

    async def list(self) -> builtins.list[CollectionInfo]:
        """All collections, by name."""
        return [collection.info() for collection in self._registry]

    async def create(
        self, name: str, keep: Keep = "original", text_fields: TextFields = None
    ) -> CollectionInfo:
        """Create an empty collection of the active version.

        Raises Conflict if the name is taken, InvalidValue for a bad name.
        """
        self._registry.require_name_free(check_collection_name(name))
        while True:
            try:
                collection = await self._write_queue.run(self._registry.create(name, keep, text_fields))
            except PairChanged:  # by a switch on another server
                await self.catch_up()
            else:
                return collection.info()

    async def ensure(self, name: str) -> CollectionInfo:
        """Return the collection of this name; create it if there is none."""
        await self.catch_up()
        if name not in self._registry:
            try:
                return await self.create(name)
            except Conflict:  # another server was first
                await self.catch_up()
        return self._registry[name].info()

    async def get(self, name: str) -> CollectionInfo:
        """Describe one collection, without a query to the store."""
        return self._registry[name].info()

    async def stats(self, name: str) -> CollectionStats:
        """All that is known of one collection."""
        return await self._stats(self._registry[name], None)

    async def stats_of_all(self) -> builtins.list[CollectionStats]:
        """All that is known of all collections, by name."""
        collections = [*self._registry]
        sizes, found = await self._records.catalogue.sizes(), list[CollectionStats]()
        for collection in collections:
            with suppress(NotFound):  # dropped meanwhile
                found.append(await self._stats(collection, sizes.get(collection.number)))
        return sorted(found, key=lambda stats: stats.info.name)

    async def report_metrics(self) -> None:
        """Report current sizes and recalls, as a recall changes by itself, and the state of the database."""
        for collection in self._registry:
            if not collection.dropped:
                collection.report_metrics()
        if (report := await self._records.report()) is not None:
            self._metrics.set_database(report)

    async def require_writable(self) -> None:
        """Raise StoreUnavailable while files of the data folder are gone, as when a disk is unmounted, or
        this server has not loaded what others serve, and StoreReadOnly while a disk takes no writes.
        """
        if self._follower.obstacle:
            raise StoreUnavailable(self._follower.obstacle)
        await self._files.require_writable()

    async def database_bytes(self) -> int:
        """Bytes on disk of the database of all collections, and of its log."""
        return await self._records.n_bytes()

    async def change(self, name: str, change: CollectionChange) -> CollectionInfo:
        """Change all of it or nothing. Writes that are waiting will use the new name.

        Raises InvalidValue for a bad name; Conflict when the new name is taken, or a job adds to the
        collection or waits to.
        """
        collection = self._registry[name]
        if change.name is not None:
            self._registry.require_renamable(collection, check_collection_name(change.name))
        await self._write_queue.run(self._registry.change(collection, change))
        return collection.info()

    async def drop(self, name: str) -> None:
        """Delete the collection, its images, and their files unless another collection uses them.

        The collection is gone at once; its images go part by part, also if the caller is cancelled.
        """
        collection = self._registry[name]
        await asyncio.shield(self._write_queue.run_alongside(self._drop(collection)))

    @contextmanager
    def loading(self, name: str, n_images: int) -> Iterator[None]:
        """Inside the block, searches raise NotReady while the collection has fewer than `n_images` images."""
        collection = self._registry[name]
        collection.n_expected = n_images
        try:
            yield
        finally:
            collection.n_expected = 0

    def needed_versions(self) -> set[VersionRef]:
        """The versions that can make vectors of the collections, loaded or not."""
        found = {one.stored for one in self._registry if one.pair is None}
        found |= {pair.version.ref for one in self._registry for pair in self._serving.pairs(one.number)}
        return {ref for ref in found if ref is not None}

    async def identities_of(self, target: Target | None) -> set[str]:
        """The identities of the vectors that a version in a precision is known to make."""
        return {
            identity for identity, one in (await self._records.catalogue.sources()).items() if one == target
        }

    def __iter__(self) -> Iterator[Collection]:
        """All collections, by name."""
        return iter(self._registry)

    def __getitem__(self, name: str) -> Collection:
        return self._registry[name]

    def __contains__(self, name: str) -> bool:
        return name in self._registry

    async def add_many(
        self,
        name: str,
        items: Sequence[NewImage],
        *,
        replace: bool = False,
        notes: Sequence[JobNote] = (),
    ) -> Added:
        """Add N items and return N outcomes in their order.

        An item is durable and searchable, or fails alone with its own error. The outcomes in `notes`
        of, whose rows are items, are durable in the same commit, even if there are no items. Raises for the
        whole add, with nothing acknowledged: Conflict when the collection is not served, NotFound when such a
        job has ended, Overloaded, TooLarge, NotReady.
        """
        while True:
            with self._serving.use() as snapshot:
                collection = self._registry[name]
                pair = collection.require_served(snapshot)
                try:
                    outcomes = await self._ingest.add(
                        collection, pair.version, items, replace=replace, notes=notes
                    )
                except PairChanged:
                    await self.catch_up()
                    continue  # embed them with the new version
                return Added(pair.model, outcomes)

    async def finish_writes(self) -> None:
        """Wait until the writes that have begun have ended, which a cancelled caller does not do."""
        await self._write_queue.run(asyncio.sleep(0))

    def require_served(self, name: str) -> None:
        """Raise Conflict when the collection is not served."""
        self._registry[name].require_served()

    def check_origin(self, name: str, origin: VectorOrigin) -> ModelInfo:
        """Return the model that makes the vectors of the collection.

        Raises Conflict naming both unless vectors of this origin may be added to the collection.
        """
        model = self._registry[name].require_served().model
        check_origin(origin, model)
        return model

    async def add_vectors(
        self, name: str, origin: VectorOrigin, items: Sequence[NewVector], *, replace: bool = False
    ) -> Added:
        """Add N ready-made vectors and return N outcomes in order. Raises as add_many and check_origin."""
        while True:
            model, collection = self.check_origin(name, origin), self._registry[name]
            try:
                return Added(model, await self._vectors.add(collection, model, items, replace=replace))
            except PairChanged:
                await self.catch_up()  # they may be of the new version, too, if their origin has no precision

    async def carriers(
        self, searched: Sequence[Collection], words: WordQuery | None
    ) -> builtins.list[WordMatches | None]:
        """The images of each collection that carry the words; None where words do not count."""
        if words is None:
            return [None] * len(searched)
        with noted("words"):
            return await asyncio.gather(
                *(self._records.words.matching(one.number, words) for one in searched)
            )

    async def nearest(self, targets: Sequence[SearchTarget], query: Embedding, **options: Any) -> Nearest:
        """Search once, as Finder.nearest; see core.collections.search for what a request needs."""
        with stage(self._metrics, "search"):
            return await self._finder.nearest(targets, query, **options)

    async def between_writes(self, work: Callable[[], Coroutine[Any, Any, Found]]) -> Found:
        """Run `work` in its turn between two writes, which it holds up. Raises NotReady."""
        return await self._follower.between_writes(work)

    async def fold_duplicates(
        self, hits: Sequence[Hit], collapse: Collapse, pair: Pair
    ) -> builtins.list[Hit]:
        """Fold hits of a search by a pair that are duplicates of a better hit into that hit."""
        if collapse == "bytes":
            return fold_same_bytes(hits)
        if collapse == "picture":
            embedder = pair.version.embedder
            hashes = await self._originals.picture_hashes({hit.key: hit.sha256 for hit in hits}, embedder)
            return await asyncio.to_thread(fold_same_picture, hits, hashes)
        found = await self._records.vectors.of([hit.key for hit in hits], pair.identity)
        none = np.zeros(pair.model.embed_dim, np.float32)  # of an image that was replaced meanwhile
        rows = [found.get(hit.key, none) for hit in hits]  # N of (D,)
        return await asyncio.to_thread(fold_near, hits, np.array(rows), collapse)

    async def _drop(self, collection: Collection) -> None:
        await self._write_queue.run(self._make_unknown(collection))
        await self._deletions.clear(collection.number)

    async def _make_unknown(self, collection: Collection) -> None:
        await self._files.require_available()
        await self._registry.drop(collection)

    async def _stats(self, collection: Collection, sizes: Sizes | None) -> CollectionStats:
        """`sizes` are those of the collection, if known already."""
        if sizes is None:
            found = await self._records.catalogue.sizes(collection.number)
            (sizes,) = found.values()
        pair = collection.pair
        index = None if pair is None else pair.index
        return CollectionStats(
            info=collection.info(),
            sizes=sizes,
            vectors=None if pair is None else pair.model,
            recall=None if index is None else index.vectors.recall,
            index=None if index is None else index.vectors.placement,
            memory_bytes=sum(one.vectors.memory_bytes for one in self._serving.indexes(collection.number)),
            load_s=None if index is None else index.load_s,
        )
