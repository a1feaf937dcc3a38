"""The collections of a data folder: opened, created, changed, dropped."""

import asyncio
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
from diptych.core.types import CollectionChange, CollectionInfo, Keep, Target
from diptych.errors import Conflict, DiptychError, NotReady

log = logging.getLogger(__name__)

RETRY_S = 60.0  # after images could not be embedded


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

    async def create(self, name: str, keep: Keep) -> LoadedCollection:
        """Create an empty collection of the active version. Raises Conflict when the name is taken."""
        self.require_name_free(name)
        vectors = await self._opener.open(self._active())
        try:
            info = await self._records.create_collection(name, keep, vectors.identity, vectors.model.ref)
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
            await self._records.change_collection(collection.name, name, keep)
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

    async def _open(self, info: CollectionInfo, sources: dict[str, Target]) -> None:
        """Open one collection with the vectors that it had, or with those of the active version.

        One whose vectors nothing here makes is not served, until a rollout embeds its images.
        """
        source = None if info.identity is None else sources.get(info.identity)
        if info.identity == self._active().model.identity:
            await self._open_stored(info, self._active().target)
        elif source is not None:  # several versions may make vectors of one identity
            await self._open_stored(info, replace(source, ref=info.ref or source.ref))
        else:
            self._place_without_version(info, "no version is at hand that made its vectors")

    async def _open_stored(self, info: CollectionInfo, source: Target) -> None:
        try:
            version = await self._versions.acquire(source)
        except NotReady:
            raise
        except DiptychError as error:
            log.warning("collection %s: %s cannot be loaded: %s", info.name, source, error)
            self._place_without_version(info, f"{source} cannot be loaded: {error}").made_by = source.ref
            return
        try:
            vectors = await self._opener.open(version)
        finally:
            self._versions.release(version)
        collection = self._place(info, vectors)
        await self.fill(collection, vectors)
        vectors.failed |= vectors.without_image  # their vectors are damaged or lost
        vectors.without_image.clear()
        collection.shows_part = self._read_only

    async def _complete(self, collection: LoadedCollection, vectors: IndexedVectors) -> None:
        """Embed what `current` lacks: searches wait for it, or do not see it yet."""
        pace = self._pace()
        while vectors.pending and not (collection.dropped or vectors.is_retired):
            try:
                await self._reembedder.run(collection, vectors, pace)
                collection.reason = ""
            except NotReady:
                raise
            except DiptychError as error:
                collection.reason = str(error)
                log.warning("collection %s cannot be embedded, it is tried again: %s", collection.name, error)
                await asyncio.sleep(RETRY_S)

    def _place_without_version(self, info: CollectionInfo, reason: str) -> LoadedCollection:
        """Place a collection that a rollout will embed for the active version, if it can."""
        collection = self._place(info, None)
        collection.can_move, collection.reason = not self._read_only, reason
        return collection

    def _place(self, info: CollectionInfo, vectors: IndexedVectors | None) -> LoadedCollection:
        collection = LoadedCollection(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            metrics=self._metrics,
            n_images=info.n_images,
            keep=info.keep,
            current=vectors,
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
