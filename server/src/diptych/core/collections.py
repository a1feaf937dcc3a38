"""Named sets of images to search in; knows nothing of HTTP, SQL, files or what runs the model."""

import builtins
import logging
from collections.abc import Callable, Sequence

from diptych.core.background import Background
from diptych.core.embedder import Embedder
from diptych.core.filters import Filter
from diptych.core.finder import Finder, require_no_min_relevance
from diptych.core.ingest import Ingest
from diptych.core.metadata import check_metadata, merge_patch
from diptych.core.names import check_collection_name
from diptych.core.pictures import Pictures
from diptych.core.ports import Decoder, ImageStore, Metrics, RecordStore, Thumbnailer, VectorIndex
from diptych.core.reembed import Reembedder
from diptych.core.shelf import Shelf
from diptych.core.storing import Storing
from diptych.core.timing import stage
from diptych.core.types import (
    NO_ROWS,
    AddOutcome,
    CollectionInfo,
    Embedding,
    Hit,
    ImageRecord,
    Keep,
    Metadata,
    ModelInfo,
    NewImage,
    NewVector,
    VectorOrigin,
)
from diptych.core.vectors import VectorIngest, check_origin
from diptych.core.writes import Writes
from diptych.errors import NotFound, NotReady

log = logging.getLogger(__name__)


class Collections:
    """All collections of one data folder, searched with the vectors of the served model only.

    Every method with a collection's name raises NotFound when there is none, and StoreError when the data
    folder fails. Writes are durable when they return, and go on to their end if the caller is cancelled.
    """

    def __init__(
        self,
        *,
        model: ModelInfo,
        embedder: Embedder,
        decoder: Decoder,
        thumbnailer: Thumbnailer,
        images: ImageStore,
        records: RecordStore,
        new_index: Callable[[], VectorIndex],
        metrics: Metrics,
        max_metadata_bytes: int = 16_384,
    ) -> None:
        self._model = model
        self._images = images
        self._records = records
        self._new_index = new_index
        self._metrics = metrics
        self._max_metadata_bytes = max_metadata_bytes
        self._writes = Writes()
        self._shelves: dict[str, Shelf] = {}
        self._finder = Finder(records)
        self._pictures = Pictures(
            images=images, records=records, thumbnailer=thumbnailer, writes=self._writes
        )
        self._storing = Storing(images=images, records=records, identity=model.identity)
        self._ingest = Ingest(
            embedder=embedder,
            decoder=decoder,
            storing=self._storing,
            writes=self._writes,
            max_metadata_bytes=max_metadata_bytes,
        )
        self._vectors = VectorIngest(
            model=model, storing=self._storing, writes=self._writes, max_metadata_bytes=max_metadata_bytes
        )
        self._reembedder = Reembedder(
            embedder=embedder, images=images, records=records, writes=self._writes, identity=model.identity
        )
        self._background = Background()

    async def open(self) -> None:
        """Remove files that no row uses, fill the indexes, begin to embed what must be again."""
        collections = await self._records.collections()
        await self._remove_orphans(any(info.n_images for info in collections))
        for info in collections:
            shelf = self._place(info)
            if shelf.state != "other_model":
                await self._fill(shelf)

    async def close(self) -> None:
        """Stop embedding in the background, finish the writes that have begun, let go of the data folder."""
        await self._background.close()
        await self._writes.close()
        for shelf in self._shelves.values():
            await shelf.index.close()
        await self._records.close()

    async def list(self) -> builtins.list[CollectionInfo]:
        """All of them, by name."""
        return [self._shelves[name].info() for name in sorted(self._shelves)]

    async def create(self, name: str, keep: Keep = "original") -> CollectionInfo:
        """A new, empty collection of the served model. Raises InvalidValue, Conflict if the name is taken."""
        return await self._writes.run(self._create(check_collection_name(name), keep))

    async def ensure(self, name: str) -> CollectionInfo:
        """The collection of this name, created if it is not there."""
        return self._shelves[name].info() if name in self._shelves else await self.create(name)

    async def get(self, name: str) -> CollectionInfo:
        """What is known of one collection."""
        return self._shelf(name).info()

    async def drop(self, name: str) -> None:
        """Delete the collection, its images, and their files unless another collection uses them."""
        await self._writes.run(self._drop(name))

    async def add_many(
        self, collection: str, items: Sequence[NewImage], *, replace: bool = False
    ) -> builtins.list[AddOutcome]:
        """N items -> N outcomes in their order: durable and searchable, or failed alone with its own error.

        Raises for all of them, with nothing acknowledged: Conflict when the collection belongs to a model
        that is not served, Overloaded, TooLarge, NotReady.
        """
        shelf = self._shelf(collection)
        shelf.require_served()
        return await self._ingest.add(shelf, items, replace=replace)

    def check_origin(self, collection: str, origin: VectorOrigin) -> None:
        """Raises Conflict naming both unless vectors of this origin may be added to the collection."""
        self._shelf(collection).require_served()
        check_origin(origin, self._model)

    async def add_vectors(
        self, collection: str, origin: VectorOrigin, items: Sequence[NewVector], *, replace: bool = False
    ) -> builtins.list[AddOutcome]:
        """N ready-made vectors -> N outcomes in their order, as `add_many`. Raises as `check_origin`."""
        self.check_origin(collection, origin)
        return await self._vectors.add(self._shelf(collection), items, replace=replace)

    async def list_images(
        self, collection: str, after: str | None, limit: int
    ) -> tuple[builtins.list[ImageRecord], str | None]:
        """One page of images with ids above `after`, by id, and the `after` of the next page or None.

        Images added or deleted between pages never make another one appear twice or not at all.
        """
        records = await self._records.page(self._shelf(collection).name, after, limit + 1)
        page = records[:limit]
        return page, page[-1].id if len(records) > limit else None

    async def get_image(self, collection: str, id: str) -> ImageRecord:
        """What is known of one image. Raises NotFound."""
        found = await self._records.find(self._shelf(collection).name, [id])
        if id not in found:
            raise NotFound(f"no image {id[:140]!r} in collection {collection!r}")
        return found[id]

    async def original(self, collection: str, id: str) -> tuple[bytes, str]:
        """The bytes that were added, and their media type. Raises NotFound, CorruptStore."""
        record = await self._kept_image(collection, id)
        return await self._pictures.original(record.sha256), record.media_type

    async def thumbnail(self, collection: str, id: str, size_px: int) -> bytes:
        """A small picture without metadata. Raises NotFound, InvalidValue for a size that is not offered."""
        record = await self._kept_image(collection, id)
        return await self._pictures.thumbnail(record.sha256, size_px)

    async def patch(self, collection: str, id: str, metadata: Metadata) -> ImageRecord:
        """Change the metadata by a JSON merge patch (RFC 7396). Raises NotFound, InvalidValue, TooLarge."""
        check_metadata(metadata, self._max_metadata_bytes)

        def change(old: Metadata) -> Metadata:
            return check_metadata(merge_patch(old, metadata), self._max_metadata_bytes)

        return await self._writes.run(self._records.patch(self._shelf(collection).name, id, change))

    async def delete(self, collection: str, id: str) -> None:
        """Remove the image, its embedding, and its files unless another row uses them. Raises NotFound."""
        await self._writes.run(self._delete(collection, id))

    async def search(
        self,
        collection: str,
        query: Embedding,
        *,
        k: int,
        offset: int = 0,
        filter: Filter | None = None,
        min_relevance: float | None = None,
    ) -> builtins.list[Hit]:
        """(D,) of unit norm -> at most k hits after the first `offset`, best first.

        Raises Conflict when the collection belongs to a model that is not served, NotReady while it is being
        embedded again, InvalidValue for `min_relevance`, as relevance is not calibrated.
        """
        shelf = self._shelf(collection)
        shelf.require_searchable()
        require_no_min_relevance(min_relevance)
        with stage(self._metrics, "search"):
            return await self._finder.nearest(shelf, query, k=k, offset=offset, filter=filter)

    async def embedding_of(self, collection: str, id: str) -> Embedding:
        """(D,) of a stored image. Raises NotFound; NotReady while it has none of the served identity."""
        shelf = self._shelf(collection)
        shelf.require_served()
        embedding = await self._records.embedding(shelf.name, id, self._model.identity)
        if embedding is None:
            raise NotReady(f"image {id!r} is not embedded for this model version yet")
        return embedding

    async def _kept_image(self, collection: str, id: str) -> ImageRecord:
        record = await self.get_image(collection, id)
        if not record.kept:
            raise NotFound(f"no file is kept of image {id!r} in collection {collection!r}")
        return record

    def _shelf(self, name: str) -> Shelf:
        if name not in self._shelves:
            raise NotFound(f"no collection named {name[:80]!r}")
        return self._shelves[name]

    def _place(self, info: CollectionInfo) -> Shelf:
        shelf = Shelf(
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            index=self._new_index(),
            metrics=self._metrics,
            state="ready" if info.model == self._model.name else "other_model",
            n_images=info.n_images,
            keep=info.keep,
        )
        self._shelves[shelf.name] = shelf
        shelf.measure()
        return shelf

    async def _remove_orphans(self, any_known: bool) -> None:
        stored = await self._images.stored()
        if stored and not any_known:  # a lost database looks like this, and its files are all that is left
            log.warning("%d image files are kept although the database knows no image", len(stored))
            return
        await self._storing.remove_unused(stored)

    async def _fill(self, shelf: Shelf) -> None:
        missing = await self._records.missing(shelf.name, self._model.identity)
        shelf.pending.update(missing)
        shelf.stranded.update(key for key, kept in missing.items() if not kept)
        async for keys, rows in self._records.embeddings(shelf.name, self._model.identity):
            await shelf.fill(keys, rows)
        shelf.settle()
        if shelf.pending - shelf.stranded:
            shelf.state = "embedding"
            self._background.start(self._reembedder.run(shelf), f"embedding collection {shelf.name}")

    async def _create(self, name: str, keep: Keep) -> CollectionInfo:
        return self._place(await self._records.create_collection(name, self._model.name, keep)).info()

    async def _drop(self, name: str) -> None:
        shelf = self._shelf(name)
        removed = await self._records.drop_collection(name)
        del self._shelves[name]
        await shelf.drop()
        await self._images.remove(removed.released)

    async def _delete(self, collection: str, id: str) -> None:
        shelf = self._shelf(collection)
        removed = await self._records.delete(collection, id)
        await shelf.change(removed.keys, (), NO_ROWS)
        await self._images.remove(removed.released)
