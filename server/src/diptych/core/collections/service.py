"""Named sets of images to search in; knows nothing of HTTP, SQL, files or what runs the model."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from diptych.core.collections.collection import LoadedCollection, PipelineChanged
from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.delete import Deletions
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.filters import Filter
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.ids import check_collection_name
from diptych.core.collections.ingest import Ingest
from diptych.core.collections.metadata import check_metadata, merge_patch
from diptych.core.collections.nearest import Finder, require_no_min_relevance
from diptych.core.collections.originals import Originals
from diptych.core.collections.ports import ImageStore, RecordStore, Thumbnailer, VectorIndex
from diptych.core.collections.reembed import Reembedder
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.vectors import VectorIngest, check_origin
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.job import News
from diptych.core.ports import Metrics
from diptych.core.timing import stage
from diptych.core.types import (
    SERVER,
    Added,
    AddOutcome,
    CollectionChange,
    CollectionInfo,
    CollectionStats,
    Deletion,
    Embedding,
    Hit,
    ImageRecord,
    Keep,
    Metadata,
    NewImage,
    NewVector,
    Sizes,
    VectorOrigin,
)
from diptych.errors import Conflict, CorruptStore, NotFound, NotReady, StoreFull


class Collections:
    """All collections of one data folder, each searched with vectors of one precision of the served model.

    Every method with a collection's name raises NotFound when there is none, and StoreError when the data
    folder fails. Writes are durable when they return, and go on to their end if the caller is cancelled.
    """

    def __init__(
        self,
        *,
        engines: PipelinePool,
        thumbnailer: Thumbnailer,
        images: ImageStore,
        records: RecordStore,
        new_index: Callable[[], VectorIndex],
        metrics: Metrics,
        writes: SerialWriteQueue,
        max_metadata_bytes: int = 16_384,
    ) -> None:
        self._engines = engines
        self._records = records
        self._metrics = metrics
        self._max_metadata_bytes = max_metadata_bytes
        self._writes = writes
        self._files = files = FileReferences(images=images, records=records, writes=writes)
        self._storing = storing = RowCommitter(files=files, records=records)
        grouped = GroupCommit(storing.store, writes)
        self._finder = Finder(records)
        self._deleting = Deletions(files=files, records=records, writes=writes)
        self._pictures = Originals(images=images, records=records, thumbnailer=thumbnailer, writes=writes)
        self._ingest = Ingest(
            files=files,
            storing=storing,
            grouped=grouped,
            writes=writes,
            max_metadata_bytes=max_metadata_bytes,
        )
        self._vectors = VectorIngest(storing=storing, grouped=grouped, max_metadata_bytes=max_metadata_bytes)
        self._shelves = CollectionRegistry(
            engines=engines,
            images=images,
            files=files,
            records=records,
            reembedder=Reembedder(engines=engines, images=images, records=records, writes=writes),
            new_index=new_index,
            metrics=metrics,
        )

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, begin to embed what must be again."""
        await self._shelves.open()

    async def close(self) -> None:
        """Stop embedding in the background, finish the writes that have begun, let go of the data folder."""
        await self._shelves.stop()
        await self._writes.close()
        await self._shelves.close()
        await self._records.close()

    async def list(self) -> builtins.list[CollectionInfo]:
        """All of them, by name."""
        return [shelf.info() for shelf in self._shelves]

    async def create(self, name: str, keep: Keep = "original", precision: str = SERVER) -> CollectionInfo:
        """A new, empty collection of the served model. Raises InvalidValue, Conflict if the name is taken.

        InvalidValue too for a precision that the served version lacks, or that cannot be served here.
        """
        self._shelves.require_free(check_collection_name(name))  # before a precision is loaded
        engine = await self._engines.take(precision)
        shelf = await self._writes.run(self._shelves.create(name, keep, precision, engine))
        return shelf.info()

    async def ensure(self, name: str) -> CollectionInfo:
        """The collection of this name, created if it is not there."""
        return self._shelves[name].info() if name in self._shelves else await self.create(name)

    async def get(self, name: str) -> CollectionInfo:
        """What is known of one collection without asking the store."""
        return self._shelves[name].info()

    async def stats(self, name: str) -> CollectionStats:
        """All that is known of one collection."""
        return await self._stats(self._shelves[name], None)

    async def stats_of_all(self) -> builtins.list[CollectionStats]:
        """Of all collections, by name."""
        shelves = [(shelf, shelf.n_renames) for shelf in self._shelves]
        sizes, found = await self._records.sizes(), list[CollectionStats]()
        for shelf, n_renames in shelves:
            with suppress(NotFound):  # it was dropped meanwhile
                known = sizes.get(shelf.name) if shelf.n_renames == n_renames else None
                found.append(await self._stats(shelf, known))
        return sorted(found, key=lambda stats: stats.info.name)

    def measure(self) -> None:
        """Tell the metrics sizes and recalls as they are now: a recall changes by itself."""
        for shelf in self._shelves:
            if not shelf.dropped:
                shelf.measure()

    async def require_files(self) -> None:
        """Raises StoreUnavailable while image files are out of reach, as when their disk is unmounted."""
        await self._files.require_there()

    async def database_bytes(self) -> int:
        """What the database of all collections and its log take on the disk."""
        return await self._records.n_bytes()

    async def change(self, name: str, change: CollectionChange) -> CollectionInfo:
        """All of it or nothing. Writes that wait meanwhile end under the new name.

        With another precision, kept images are embedded again in the background; so they are with the same
        after that has failed. Raises InvalidValue as `create`; Conflict when the new name is taken, or while
        a job adds to the collection, or waits to; for a precision when it belongs to a model that is not
        served, or has rows that keep no image and have no vector of this precision.
        """
        shelf, engine = self._shelves[name], None
        if change.name is not None:  # before a precision is loaded
            self._shelves.require_renamable(shelf, check_collection_name(change.name))
        if change.precision is not None:
            shelf.require_model()
            engine = await self._engines.take(change.precision)
        await self._writes.run(self._shelves.change(shelf, change, engine))
        return shelf.info()

    async def drop(self, name: str) -> None:
        """Delete the collection, its images, and their files unless another collection uses them.

        At once, but for a disk too full for that: there image after image, and the collection at last.
        """
        await self._writes.run(self._drop(self._shelves[name]))

    @contextmanager
    def using(self, collection: str) -> Iterator[EncoderPipeline]:
        """What makes its vectors, at work to the end of the block. Raises Conflict when it is not served."""
        engine = self._shelves[collection].require_served()
        with self._engines.hold(engine):
            yield engine

    @contextmanager
    def loading(self, collection: str, n_images: int) -> Iterator[None]:
        """To the end of the block, searches raise NotReady while the collection has fewer images."""
        shelf = self._shelves[collection]
        shelf.n_expected = n_images
        try:
            yield
        finally:
            shelf.n_expected = 0

    @property
    def n_without_precision(self) -> int:
        """How many are not served for want of their own precision."""
        return sum(shelf.state == "no_precision" for shelf in self._shelves)

    async def add_many(
        self,
        collection: str,
        items: Sequence[NewImage],
        *,
        replace: bool = False,
        news: Callable[[Sequence[AddOutcome]], News] | None = None,
    ) -> Added:
        """N items -> N outcomes in their order: durable and searchable, or failed alone with its own error.

        `news`, what jobs hear of the outcomes, is durable in the same commit, even if there are no items.
        Raises for all of them, with nothing acknowledged: Conflict when the collection belongs to a model
        or has a precision that is not served, NotFound when such a job has ended, Overloaded, TooLarge,
        NotReady.
        """
        while True:
            shelf = self._shelves[collection]
            with self.using(collection) as engine:
                try:
                    outcomes = await self._ingest.add(shelf, engine, items, replace=replace, news=news)
                except PipelineChanged:
                    continue  # they are embedded by the new one
                return Added(engine.model, outcomes)

    async def finish_writes(self) -> None:
        """Wait until those that have begun have ended, as a caller who was cancelled did not."""
        await self._writes.run(asyncio.sleep(0))

    def require_served(self, collection: str) -> None:
        """Raises Conflict when the collection belongs to a model or has a precision that is not served."""
        self._shelves[collection].require_served()

    def check_origin(self, collection: str, origin: VectorOrigin) -> None:
        """Raises Conflict naming both unless vectors of this origin may be added to the collection."""
        check_origin(origin, self._shelves[collection].require_served().model)

    async def add_vectors(
        self, collection: str, origin: VectorOrigin, items: Sequence[NewVector], *, replace: bool = False
    ) -> Added:
        """N ready-made vectors -> N outcomes in their order, as `add_many`. Raises as `check_origin`."""
        self.check_origin(collection, origin)
        shelf = self._shelves[collection]
        model = shelf.require_served().model
        try:
            return Added(model, await self._vectors.add(shelf, model, items, replace=replace))
        except PipelineChanged:
            raise Conflict(f"collection {collection!r} has just taken another precision") from None

    async def list_images(
        self, collection: str, after: str | None, limit: int
    ) -> tuple[builtins.list[ImageRecord], str | None]:
        """One page of images with ids above `after`, by id, and the `after` of the next page or None.

        Images added or deleted between pages never make another one appear twice or not at all.
        """
        shelf = self._shelves[collection]
        records = await shelf.read(lambda name: self._records.page(name, after, limit + 1))
        page = records[:limit]
        return page, page[-1].id if len(records) > limit else None

    async def get_image(self, collection: str, id: str) -> ImageRecord:
        """What is known of one image. Raises NotFound."""
        return await self._record(self._shelves[collection], id)

    async def find_images(self, collection: str, ids: Sequence[str]) -> builtins.list[ImageRecord]:
        """Those of the ids that are there, by id, without those that adding again would mend: what cannot be
        found by searching, and what has lost its file.
        """
        shelf = self._shelves[collection]
        found = await shelf.read(lambda name: self._records.find(name, ids))
        lacking = await self._storing.lacking(shelf) | await self._files.lost(found.values())
        return [found[id] for id in sorted(found) if id not in lacking]

    async def original(self, collection: str, id: str) -> tuple[bytes, str]:
        """The bytes that were added, and their media type. Raises NotFound, CorruptStore."""
        record, payload = await self._of_file(collection, id, self._pictures.original)
        return payload, record.media_type

    async def thumbnail(self, collection: str, id: str, size_px: int) -> bytes:
        """A small picture without metadata. Raises NotFound, InvalidValue for a size that is not offered."""
        return (await self._of_file(collection, id, lambda one: self._pictures.thumbnail(one, size_px)))[1]

    async def patch(self, collection: str, id: str, metadata: Metadata) -> ImageRecord:
        """Change the metadata by a JSON merge patch (RFC 7396). Raises NotFound, InvalidValue, TooLarge."""
        check_metadata(metadata, self._max_metadata_bytes)

        def change(old: Metadata) -> Metadata:
            return check_metadata(merge_patch(old, metadata), self._max_metadata_bytes)

        shelf = self._shelves[collection]

        async def patched() -> ImageRecord:
            shelf.require_kept()
            return await self._records.patch(shelf.name, id, change)  # the name that it has by then

        return await self._writes.run(patched())

    async def delete(self, collection: str, id: str) -> None:
        """Remove the image, its embedding, and its files unless another row uses them. Raises NotFound."""
        await self._deleting.one(self._shelves[collection], id)

    async def delete_matching(
        self, collection: str, filter: Filter | None, *, lacking: bool, preview: bool
    ) -> Deletion:
        """Remove all that pass the filter, and with `lacking` those of them only that cannot be found.

        With `preview`, tell what would be removed. With `lacking`, raises NotReady while images are embedded
        or after that ended early, Conflict when the collection is not served: what lacks is not known then.
        """
        return await self._deleting.matching(
            self._shelves[collection], filter, lacking=lacking, preview=preview
        )

    async def search(
        self,
        collection: str,
        query: Embedding,
        *,
        k: int,
        offset: int = 0,
        filter: Filter | None = None,
        min_relevance: float | None = None,
        made_by: EncoderPipeline | None = None,
        exact: bool = False,
    ) -> builtins.list[Hit]:
        """(D,) of unit norm -> at most k hits after the first `offset`, best first.

        `made_by` made the query, if the collection may have taken another precision since. With `exact`, all
        images are compared, also where the collection's recall is below 1. Raises Conflict
        when the collection belongs to a model or has a precision that is not served, NotReady while it is
        being loaded, embedded again, or after it took another precision than the query's, InvalidValue for
        `min_relevance`, as relevance is not calibrated.
        """
        shelf = self._shelves[collection]
        shelf.require_searchable()
        require_no_min_relevance(min_relevance)
        with stage(self._metrics, "search"):
            return await self._finder.nearest(
                shelf, query, k=k, offset=offset, filter=filter, made_by=made_by, exact=exact
            )

    async def embedding_of(self, collection: str, id: str) -> Embedding:
        """(D,) of a stored image. Raises NotFound; NotReady while it has none of this kind."""
        shelf = self._shelves[collection]
        engine = shelf.require_served()
        identity = engine.model.identity
        embedding = await shelf.read(lambda name: self._records.embedding(name, id, identity))
        if embedding is None:
            raise NotReady(f"image {id!r} is not embedded for this model version yet")
        return embedding

    async def _drop(self, shelf: LoadedCollection) -> None:
        await self._files.require_there()
        try:
            await self._shelves.drop(shelf)
        except StoreFull:
            if shelf.dropped:  # and some of its files are not gone
                raise
            await self._deleting.all_of(shelf)
            await self._shelves.drop(shelf)

    async def _record(self, shelf: LoadedCollection, id: str) -> ImageRecord:
        return await shelf.read(lambda name: self._records.get(name, id))

    async def _of_file(
        self, collection: str, id: str, read: Callable[[str], Awaitable[bytes]]
    ) -> tuple[ImageRecord, bytes]:
        """An image, and what is read of its file by sha256. Raises NotFound, CorruptStore.

        The file of an image that has been replaced or deleted since its row was read is no longer there.
        """
        shelf = self._shelves[collection]
        record = await self._kept_image(shelf, id)
        while True:
            try:
                return record, await read(record.sha256)
            except CorruptStore:
                before, record = record, await self._kept_image(shelf, id)
                if record == before:
                    raise

    async def _kept_image(self, shelf: LoadedCollection, id: str) -> ImageRecord:
        record = await self._record(shelf, id)
        if not record.kept:
            raise NotFound(f"no file is kept of image {id!r} in collection {shelf.name!r}")
        return record

    async def _stats(self, shelf: LoadedCollection, sizes: Sizes | None) -> CollectionStats:
        """`sizes` where they are known."""
        if sizes is None:
            found = await shelf.read(self._records.sizes)
            (sizes,) = found.values()
        engine = shelf.engine
        return CollectionStats(
            info=shelf.info(),
            sizes=sizes,
            vectors=None if engine is None else engine.model,
            recall=None if engine is None else shelf.index.recall,
            index=None if engine is None else shelf.index.place,
        )
