"""The collections of one data folder: created, described, changed, added to and searched."""

import asyncio
import builtins
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from diptych.bundle.calibration import QueryKind
from diptych.core.collections.collection import LoadedCollection, PipelineChanged
from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.delete import Deletions
from diptych.core.collections.duplicates import Collapse, fold_near, fold_same_bytes, fold_same_picture
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.ids import check_collection_name
from diptych.core.collections.images import CollectionImages
from diptych.core.collections.indexed_vectors import IndexedVectors, IndexOpener
from diptych.core.collections.ingest import Ingest
from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.moves import Moves
from diptych.core.collections.nearest import Finder, Judge, OpenTarget, SearchTarget
from diptych.core.collections.originals import Originals
from diptych.core.collections.ports import ImageStore, RecordStore, Thumbnailer, VectorIndex
from diptych.core.collections.reembed import NoPause, Pace, Reembedder
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.vectors import VectorIngest
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.vector_checks import check_origin
from diptych.core.encoding.versions import LoadedVersion, LoadedVersions
from diptych.core.job import JobOutcomes
from diptych.core.ports import Metrics
from diptych.core.timing import stage
from diptych.core.types import (
    Added,
    AddOutcome,
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
    VectorOrigin,
    VersionRef,
)
from diptych.errors import Conflict, NotFound, StoreFull


class Collections:
    """All collections of one data folder, each with vectors of one version.

    Every method that takes a name raises NotFound when there is no such collection, and StoreError when the
    data folder fails. Writes are durable when they return, and run to their end if the caller is cancelled.
    `images` reads, changes and deletes stored images; `moves` gives collections other vectors, for rollouts.
    """

    def __init__(
        self,
        *,
        versions: LoadedVersions,
        active: Callable[[], LoadedVersion],
        thumbnailer: Thumbnailer,
        images: ImageStore,
        records: RecordStore,
        new_index: Callable[[int], VectorIndex],
        metrics: Metrics,
        write_queue: SerialWriteQueue,
        pace: Callable[[], Pace] = NoPause,
        max_metadata_bytes: int = 16_384,
        read_only: bool = False,
    ) -> None:
        """`active` returns the version of new collections; `new_index` makes an empty index for a width;
        `pace` lets requests go before images that are embedded in the background.

        With `read_only`, opening and reading write nothing; callers make no changes.
        """
        self._records = records
        self._metrics = metrics
        self._write_queue = write_queue
        self._files = files = FileReferences(images=images, records=records, write_queue=write_queue)
        self._finder = Finder(records, write_queue)
        self._deletions = Deletions(files=files, records=records, write_queue=write_queue)
        self._originals = Originals(
            images=images,
            records=records,
            thumbnailer=thumbnailer,
            write_queue=write_queue,
            read_only=read_only,
        )
        self._opener = opener = IndexOpener(
            versions=versions, records=records, new_index=new_index, read_only=read_only
        )
        reembedder = Reembedder(opener=opener, images=images, records=records, write_queue=write_queue)
        self._registry = registry = CollectionRegistry(
            versions=versions,
            active=active,
            opener=opener,
            images=images,
            files=files,
            records=records,
            reembedder=reembedder,
            pace=pace,
            metrics=metrics,
            read_only=read_only,
        )
        self.moves = Moves(
            registry=registry,
            records=records,
            opener=opener,
            reembedder=reembedder,
            write_queue=write_queue,
        )
        committer = RowCommitter(files=files, records=records)
        group_commit = GroupCommit(committer.store, write_queue)
        self._ingest = Ingest(
            follow=self.moves.embed_added,
            files=files,
            committer=committer,
            group_commit=group_commit,
            write_queue=write_queue,
            max_metadata_bytes=max_metadata_bytes,
        )
        self._vectors = VectorIngest(
            committer=committer, group_commit=group_commit, max_metadata_bytes=max_metadata_bytes
        )
        self.images = CollectionImages(
            registry=registry,
            records=records,
            files=files,
            originals=self._originals,
            deletions=self._deletions,
            committer=committer,
            opener=opener,
            write_queue=write_queue,
            max_metadata_bytes=max_metadata_bytes,
        )

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, and start to embed images that need it."""
        await self._registry.open()

    async def close(self) -> None:
        """Stop background embedding, finish the writes that have begun, close the data folder."""
        await self._registry.stop()
        await self._write_queue.close()
        await self._registry.close()
        await self._records.close()

    async def list(self) -> builtins.list[CollectionInfo]:
        """All collections, by name."""
        return [collection.info() for collection in self._registry]

    async def create(self, name: str, keep: Keep = "original") -> CollectionInfo:
        """Create an empty collection of the active version.

        Raises Conflict if the name is taken, InvalidValue for a bad name.
        """
        self._registry.require_name_free(check_collection_name(name))
        collection = await self._write_queue.run(self._registry.create(name, keep))
        return collection.info()

    async def ensure(self, name: str) -> CollectionInfo:
        """Return the collection of this name; create it if there is none."""
        return self._registry[name].info() if name in self._registry else await self.create(name)

    async def get(self, name: str) -> CollectionInfo:
        """What is known of one collection without asking the store."""
        return self._registry[name].info()

    async def stats(self, name: str) -> CollectionStats:
        """All that is known of one collection."""
        return await self._stats(self._registry[name], None)

    async def stats_of_all(self) -> builtins.list[CollectionStats]:
        """All that is known of all collections, by name."""
        collections = [(collection, collection.n_renames) for collection in self._registry]
        sizes, found = await self._records.sizes(), list[CollectionStats]()
        for collection, n_renames in collections:
            with suppress(NotFound):  # dropped meanwhile
                known = sizes.get(collection.name) if collection.n_renames == n_renames else None
                found.append(await self._stats(collection, known))
        return sorted(found, key=lambda stats: stats.info.name)

    def report_metrics(self) -> None:
        """Report current sizes and recalls: a recall changes by itself."""
        for collection in self._registry:
            if not collection.dropped:
                collection.report_metrics()

    async def require_writable(self) -> None:
        """Raise StoreUnavailable while files of the data folder are gone, as when a disk is unmounted, and
        StoreReadOnly while a disk takes no writes.
        """
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

        At once, unless the disk is too full for that: then image by image, and the collection last.
        """
        await self._write_queue.run(self._drop(self._registry[name]))

    @contextmanager
    def using(self, name: str) -> Iterator[IndexedVectors]:
        """The vectors of added images, kept open inside the block even if the collection moves to others.

        Raises Conflict if they are not served.
        """
        vectors = self._registry[name].require_served()
        with self._opener.hold(vectors):
            yield vectors

    @contextmanager
    def holding(self, *vectors: IndexedVectors) -> Iterator[None]:
        """Keep the vectors open inside the block, even if their collection moves or is dropped."""
        with ExitStack() as stack:
            for one in vectors:
                stack.enter_context(self._opener.hold(one))
            yield

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
        found = {collection.made_by for collection in self._registry}
        found |= {vectors.version.ref for one in self._registry for vectors in one.all_vectors}
        return {ref for ref in found if ref is not None}

    def loaded(self) -> builtins.list[LoadedCollection]:
        """All collections, by name, for rollouts."""
        return [*self._registry]

    def __getitem__(self, name: str) -> LoadedCollection:
        return self._registry[name]

    def __contains__(self, name: str) -> bool:
        return name in self._registry

    async def add_many(
        self,
        name: str,
        items: Sequence[NewImage],
        *,
        replace: bool = False,
        job_outcomes: Callable[[Sequence[AddOutcome]], JobOutcomes] | None = None,
    ) -> Added:
        """Add N items and return N outcomes in their order.

        An item is durable and searchable, or fails alone with its own error. What `job_outcomes` returns for
        the outcomes is durable in the same commit, even if there are no items. Raises for the whole add, with
        nothing acknowledged: Conflict when the collection is not served, NotFound when such a job has ended,
        Overloaded, TooLarge, NotReady.
        """
        while True:
            collection = self._registry[name]
            with self.using(name) as vectors:
                try:
                    outcomes = await self._ingest.add(
                        collection, vectors.pipeline, items, replace=replace, job_outcomes=job_outcomes
                    )
                except PipelineChanged:
                    continue  # embed them with the new pipeline
                return Added(vectors.model, outcomes)

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
        model, collection = self.check_origin(name, origin), self._registry[name]
        try:
            return Added(model, await self._vectors.add(collection, model, items, replace=replace))
        except PipelineChanged:
            raise Conflict(f"collection {name!r} has just moved to another version") from None

    async def search(
        self,
        targets: str | Sequence[SearchTarget],
        query: Embedding,
        *,
        k: int,
        offset: int = 0,
        filter: Filter | None = None,
        kind: QueryKind = "text",
        min_relevance: float | None = None,
        exact: bool = False,
    ) -> builtins.list[Hit]:
        """Find at most k hits for a unit-norm query (D,) after the first `offset`, best first.

        `targets` are the name of a collection, or collections whose vectors are of one identity: they are
        searched side by side. With `exact`, all images are compared, even if a collection's recall is below
        1. Raises Conflict when a collection is not served; NotReady while it is loaded or embedded;
        InvalidValue for `min_relevance`, below which hits are left out, if the version is not calibrated for
        queries of this `kind`.
        """
        opened = []
        for one in [SearchTarget(targets)] if isinstance(targets, str) else targets:
            collection = self._registry[one.name]
            current = collection.require_searchable()
            opened.append(OpenTarget(collection, one.vectors or current, one.without))
        calibrations = (one.vectors.version.calibration for one in opened)
        calibration = next((one for one in calibrations if one is not None), None)
        judge = Judge(calibration, kind, min_relevance)
        judge.require_usable(opened[0].vectors.model)
        with stage(self._metrics, "search"):
            return await self._finder.nearest(
                opened, query, k=k, offset=offset, filter=filter, exact=exact, judge=judge
            )

    async def fold_duplicates(
        self, hits: Sequence[Hit], collapse: Collapse, vectors: IndexedVectors
    ) -> builtins.list[Hit]:
        """Fold hits of a search in `vectors` that are duplicates of a better hit into that hit."""
        if collapse == "bytes":
            return fold_same_bytes(hits)
        if collapse == "picture":
            embedder = vectors.pipeline.embedder
            hashes = await self._originals.picture_hashes({hit.key: hit.sha256 for hit in hits}, embedder)
            return await asyncio.to_thread(fold_same_picture, hits, hashes)
        found = await self._records.embeddings_of([hit.key for hit in hits], vectors.identity)
        none = np.zeros(vectors.model.embed_dim, np.float32)  # of an image that was replaced meanwhile
        rows = [found.get(hit.key, none) for hit in hits]  # N of (D,)
        return await asyncio.to_thread(fold_near, hits, np.array(rows), collapse)

    async def _drop(self, collection: LoadedCollection) -> None:
        await self._files.require_available()
        try:
            await self._registry.drop(collection)
        except StoreFull:
            if collection.dropped:  # only some files could not be removed
                raise
            await self._deletions.all_of(collection)
            await self._registry.drop(collection)

    async def _stats(self, collection: LoadedCollection, sizes: Sizes | None) -> CollectionStats:
        """`sizes` are those of the collection, if known already."""
        if sizes is None:
            found = await collection.read(self._records.sizes)
            (sizes,) = found.values()
        vectors = collection.writing
        return CollectionStats(
            info=collection.info(),
            sizes=sizes,
            vectors=None if vectors is None else vectors.model,
            recall=None if vectors is None else vectors.index.recall,
            index=None if vectors is None else vectors.index.placement,
            memory_bytes=sum(map(collection.n_bytes, collection.all_vectors)),
            load_s=None if vectors is None else vectors.load_s,
        )
