"""The collections of a data folder: opened, created, changed, dropped."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.ids import collection_not_found
from diptych.core.collections.indexed_vectors import IndexedVectors, IndexOpener
from diptych.core.collections.ports import ImageStore, RecordStore
from diptych.core.collections.reembed import Pace, Reembedder
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.versions import LoadedVersion, LoadedVersions
from diptych.core.ports import Metrics
from diptych.core.types import CollectionChange, CollectionInfo, IdentitySource, Keep
from diptych.errors import Conflict, DiptychError, InvalidValue, NotReady

log = logging.getLogger(__name__)


class CollectionRegistry:
    """The loaded collections by name. Methods that change them run inside a write, except `open`."""

    def __init__(
        self,
        *,
        versions: LoadedVersions,
        active: Callable[[], LoadedVersion],
        opener: IndexOpener,
        images: ImageStore,
        files: FileReferences,
        records: RecordStore,
        reembedder: Reembedder,
        pace: Callable[[], Pace],
        metrics: Metrics,
        read_only: bool = False,
    ) -> None:
        """`active` returns the version of new collections; `pace` gives way to requests.

        `read_only`: write nothing, and embed nothing that has no vector.
        """
        self._read_only = read_only
        self._versions = versions
        self._active = active
        self._opener = opener
        self._images = images
        self._records = records
        self._files = files
        self._reembedder = reembedder
        self._pace = pace
        self._metrics = metrics
        self._collections: dict[str, LoadedCollection] = {}
        self._background = TaskSet()

    def __getitem__(self, name: str) -> LoadedCollection:
        if name not in self._collections:
            raise collection_not_found(name)
        return self._collections[name]

    def __contains__(self, name: str) -> bool:
        return name in self._collections

    def __iter__(self) -> Iterator[LoadedCollection]:
        """All collections, by name."""
        return iter([self._collections[name] for name in sorted(self._collections)])

    async def open(self) -> None:
        """Fill the indexes, remove files that no row uses, and start to embed images that need it.

        Raises CorruptStore. The indexes are filled while the store is checked, and nothing changes before
        that has ended.
        """
        try:
            sources = await self._records.identity_sources()
            for info in await self._records.collections():
                await self._open(info, sources)
        except Exception:
            await self._records.require_sound()  # damage explains any other error
            raise
        await self._records.require_sound()
        if not self._read_only:
            await self._files.remove_unused(await self._images.stored())
        for collection in self:
            if collection.current is not None and collection.current.pending:
                log.warning(
                    "collection %s: %d of %d images have no vector yet",
                    *(collection.name, len(collection.current.pending), collection.n_images),
                )
                if not self._read_only:
                    self.embed_missing(collection)

    async def stop(self) -> None:
        """Stop embedding in the background."""
        await self._background.close()

    async def close(self) -> None:
        """Close the indexes."""
        await self._opener.close()
        for collection in self:
            for vectors in collection.all_vectors:
                await vectors.index.close()

    def require_name_free(self, name: str) -> None:
        """Raise Conflict when the name is taken."""
        if name in self:
            raise Conflict(f"there is a collection named {name!r} already")

    async def create(
        self, name: str, keep: Keep, precision: str, vectors: IndexedVectors
    ) -> LoadedCollection:
        """Create an empty collection with these vectors, or with those of the version that is active by now.

        Raises Conflict when the name is taken, InvalidValue when that version lacks the precision.
        """
        if vectors.version is not self._active():  # no rollout would find this collection any more
            self._opener.retire(vectors)
            vectors = await self._opener.open(self._active(), precision)
        try:
            info = await self._records.create_collection(
                name, vectors.model.name, keep, precision, vectors.identity, ref=vectors.model.ref
            )
        except BaseException:
            self._opener.retire(vectors)
            raise
        return self._place(info, vectors)

    def require_renamable(self, collection: LoadedCollection, name: str) -> None:
        """Raise Conflict when another collection has the name."""
        if name != collection.name:
            self.require_name_free(name)

    async def change(self, collection: LoadedCollection, change: CollectionChange) -> None:
        """Change all of it or nothing.

        Raises NotFound when the collection was dropped, Conflict when the name is taken, or a job adds to it.
        """
        name, keep = change.name or collection.name, change.keep or collection.keep
        collection.require_not_dropped()
        self.require_renamable(collection, name)
        with collection.renaming():
            await self._records.change_collection(collection.name, name, keep, collection.precision)
            self._rename(collection, name)
        collection.keep = keep

    async def drop(self, collection: LoadedCollection) -> None:
        """Remove it, its rows, and their files unless another collection uses them. Raises NotFound."""
        collection.require_not_dropped()
        removed = await self._records.drop_collection(collection.name)
        del self._collections[collection.name]
        collection.dropped = True
        collection.report_metrics()
        for vectors in collection.all_vectors:
            self._opener.retire(vectors)
        await self._files.remove(removed.released)

    async def fill(self, collection: LoadedCollection, vectors: IndexedVectors) -> None:
        """Fill the index of new vectors with what is stored of their identity."""
        for key in await self._opener.fill(vectors, collection.name):
            log.warning("collection %s: the vector of row %d is damaged", collection.name, key)

    def embed_missing(self, collection: LoadedCollection) -> None:
        """Start to embed in the background what the `current` vectors lack, if anything."""
        if collection.current is not None and collection.current.pending:
            self._background.start(
                self._complete(collection, collection.current), f"embedding collection {collection.name}"
            )

    async def _open(self, info: CollectionInfo, sources: dict[str, IdentitySource]) -> None:
        """Open one collection with the vectors that it had.

        One without images takes the active version; one whose vectors nobody can make is not served, until a
        rollout embeds its images.
        """
        active = self._active()
        source = None if info.identity is None else sources.get(info.identity)
        if source is None and not info.n_images and info.model == active.ref.name:
            await self._open_empty(info, active)
        elif source is None:
            self._place_without_version(info, "no version is at hand that made its vectors")
        else:  # several versions may make vectors of one identity
            await self._open_stored(info, replace(source, ref=info.ref or source.ref))

    async def _open_empty(self, info: CollectionInfo, version: LoadedVersion) -> None:
        try:
            vectors = await self._opener.open(version, info.precision, at_start=True)
        except InvalidValue as error:
            self._place_unserved(info, error)
            return
        if not self._read_only:
            await self._records.set_identity(info.name, vectors.identity, vectors.model.ref)
        self._place(info, vectors)

    async def _open_stored(self, info: CollectionInfo, source: IdentitySource) -> None:
        try:
            version = await self._versions.acquire(source.ref)
        except NotReady:
            raise
        except DiptychError as error:
            log.warning("collection %s: %s cannot be loaded: %s", info.name, source.ref, error)
            self._place_without_version(info, f"{source.ref} cannot be loaded: {error}").made_by = source.ref
            return
        try:
            vectors = await self._opener.open(version, source.precision, decode=source.decode, at_start=True)
        except InvalidValue as error:
            self._place_unserved(info, error).made_by = source.ref
            return
        finally:
            self._versions.release(version)
        collection = self._place(info, vectors)
        await self.fill(collection, vectors)
        collection.may_lag |= self._read_only  # nothing will embed what is missing: searches see the others

    async def _complete(self, collection: LoadedCollection, vectors: IndexedVectors) -> None:
        """Embed what `current` lacks: searches wait for it, or do not see it yet."""
        pace = self._pace()
        try:
            while vectors.pending and not (collection.dropped or vectors.is_retired):
                await self._reembedder.run(collection, vectors, pace)
        except NotReady:
            raise
        except Exception as error:
            collection.reason = str(error) if isinstance(error, DiptychError) else type(error).__name__
            raise

    def _place_without_version(self, info: CollectionInfo, reason: str) -> LoadedCollection:
        """Place a collection that a rollout will embed for the active version, if it is of its model."""
        collection = self._place(info, None)
        if info.model == self._active().ref.name and not self._read_only:
            collection.unserved = "embedding"
        else:
            collection.reason = reason
        return collection

    def _place_unserved(self, info: CollectionInfo, error: InvalidValue) -> LoadedCollection:
        log.warning("collection %s is not served: %s", info.name, error.message)
        collection = self._place(info, None)
        collection.unserved, collection.reason = "no_precision", error.message
        return collection

    def _place(self, info: CollectionInfo, vectors: IndexedVectors | None) -> LoadedCollection:
        collection = LoadedCollection(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            metrics=self._metrics,
            n_images=info.n_images,
            keep=info.keep,
            precision=info.precision,
            current=vectors,
            may_lag=info.may_lag,
        )
        self._collections[collection.name] = collection
        collection.report_metrics()
        return collection

    def _rename(self, collection: LoadedCollection, name: str) -> None:
        self._metrics.set_collection(collection.name, None)
        del self._collections[collection.name]
        collection.rename(name)
        self._collections[name] = collection
        collection.report_metrics()
