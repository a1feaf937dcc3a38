"""The images of collections: listed, counted, read, changed and deleted."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.delete import Deletions
from diptych.core.collections.metadata.checks import check_metadata
from diptych.core.collections.metadata.facets import FieldSummary, Folder, Months, folders_of
from diptych.core.collections.metadata.filters import Filter, Path
from diptych.core.collections.metadata.ordering import OrderBy, cursor_of, place_at
from diptych.core.collections.metadata.reserved import FILE, is_missing
from diptych.core.collections.registry import CollectionRegistry
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.duplicates import (
    MAX_COMPARED,
    MAX_FOLDED,
    MAX_GROUP_IMAGES,
    DuplicateGroup,
    DuplicatePage,
    same_pictures,
)
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.originals import Originals
from diptych.core.collections.stored.ports import FilterResolver, Records
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.fetching.image_urls import ReserveBytes
from diptych.core.serving.snapshot import Pair
from diptych.core.types import Deletion, Embedding, ImageRecord, Metadata, ModelInfo
from diptych.errors import Conflict, CorruptStore, InvalidValue, NotFound, NotReady


class CollectionImages:
    """The stored images of all collections.

    Every method raises NotFound when there is no collection of the name, and StoreError when the data folder
    fails.
    """

    def __init__(
        self,
        *,
        registry: CollectionRegistry,
        records: Records,
        files: FileReferences,
        originals: Originals,
        deletions: Deletions,
        committer: RowCommitter,
        labels: FilterResolver,
        write_queue: SerialWriteQueue,
        max_metadata_bytes: int,
    ) -> None:
        self._registry = registry
        self._records = records
        self._files = files
        self._originals = originals
        self._committer = committer
        self._labels = labels
        self._write_queue = write_queue
        self._max_metadata_bytes = max_metadata_bytes
        self._deletions = deletions
        self._one_scan = asyncio.Lock()  # several at once would leave searches no reader of the store

    async def list(
        self,
        name: str,
        after: str | None,
        limit: int,
        filter: Filter | None = None,
        order_by: OrderBy | None = None,
    ) -> tuple[builtins.list[ImageRecord], str | None]:
        """One page of images that pass the filter, and the `after` of the next page or None.

        Images come by id, and `after` is one. With `order_by` they come by a field of their metadata, and
        `after` is what the page before gave. Images that are added, changed or deleted between pages never
        make another one appear twice or not at all. Raises InvalidValue for the page of another order.
        """
        collection = self._registry[name]
        filter = await self._resolved(collection, filter)
        if order_by is None:
            records = await self._records.rows.page(collection.number, after, limit + 1, filter)
        else:
            place = None if after is None else place_at(after, order_by)
            async with self._one_scan:
                records = await self._records.rows.ordered_page(
                    collection.number, order_by, place, limit + 1, filter
                )
        page = records[:limit]
        if len(records) <= limit:
            return page, None
        last = page[-1]
        return page, last.id if order_by is None else cursor_of(order_by, last.metadata, last.id)

    async def count(self, name: str, filter: Filter | None = None) -> int:
        """The number of images that pass the filter."""
        collection = self._registry[name]
        if filter is None:
            return collection.n_images
        return await self._records.rows.count(collection.number, await self._resolved(collection, filter))

    async def fields(
        self, name: str, filter: Filter | None, limit: int, *, nested: bool = False
    ) -> FieldSummary:
        """Summarise the metadata fields of images that pass the filter, each with at most `limit` values.

        With `nested` also the fields inside of objects.
        """
        collection = self._registry[name]
        filter = await self._resolved(collection, filter)
        async with self._one_scan:
            return await self._records.rows.fields(collection.number, filter, limit, nested=nested)

    async def months(self, name: str, path: Path, filter: Filter | None) -> Months:
        """Count the images that pass the filter by the month of the date that a metadata field has."""
        collection = self._registry[name]
        filter = await self._resolved(collection, filter)
        async with self._one_scan:
            return await self._records.rows.months(collection.number, path, filter)

    async def folders(self, name: str, under: str, filter: Filter | None) -> Sequence[Folder]:
        """The folders directly within one, or the topmost ones, and how many images that pass the filter are
        in each.
        """
        collection = self._registry[name]
        filter = await self._resolved(collection, filter)
        async with self._one_scan:
            counts = await self._records.rows.texts(collection.number, (FILE, "folder"), filter)
        return await asyncio.to_thread(folders_of, counts, under)

    async def duplicates(
        self, name: str, kind: Literal["bytes", "picture"], after: str | None, limit: int
    ) -> DuplicatePage:
        """At most `limit` groups of images with the same bytes or of the same picture, by their first ids,
        which are above `after`.

        Of images without a picture hash at most MAX_FOLDED are given one. Raises InvalidValue for pictures in
        a collection of more than MAX_COMPARED images; Conflict, Overloaded, NotReady if hashes are missing.
        """
        collection = self._registry[name]
        async with self._one_scan:
            if kind == "bytes":
                groups, n_unknown = await self._records.rows.same_bytes(collection.number), 0
            else:
                groups, n_unknown = await self._same_pictures(collection)
        later = [group for group in groups if group[0] > (after or "")]
        page = [group[:MAX_GROUP_IMAGES] for group in later[:limit]]
        ids = [id for group in page for id in group]
        found = await self._records.rows.find(collection.number, ids)
        return DuplicatePage(
            groups=[
                DuplicateGroup(len(whole), [found[id] for id in group if id in found])
                for whole, group in zip(later, page, strict=False)
            ],
            next=page[-1][0] if len(later) > limit else None,
            n_groups=len(groups),
            n_duplicates=sum(map(len, groups)) - len(groups),
            n_unknown=n_unknown,
        )

    async def get(self, name: str, id: str) -> ImageRecord:
        """The record of one image. Raises NotFound."""
        return await self._record(self._registry[name], id)

    async def find(self, name: str, ids: Sequence[str]) -> builtins.list[ImageRecord]:
        """The images that have these ids, by id, without those that adding again would repair: images that
        searches cannot find, and images whose file is lost.
        """
        collection = self._registry[name]
        found = await self._records.rows.find(collection.number, ids)
        to_repair = await self._committer.ids_to_repair(collection) | await self._files.ids_without_file(
            found.values()
        )
        return [found[id] for id in sorted(found) if id not in to_repair]

    async def original(self, name: str, id: str) -> tuple[bytes, str]:
        """The bytes that were added, and their media type. Raises NotFound, CorruptStore."""
        record, payload = await self._of_file(name, id, self._originals.original)
        return payload, record.media_type

    async def thumbnail(self, name: str, id: str, size_px: int) -> bytes:
        """A thumbnail without metadata. Raises NotFound; InvalidValue for a size that is not offered."""
        return (await self._of_file(name, id, lambda one: self._originals.thumbnail(one, size_px)))[1]

    async def patch(self, name: str, id: str, metadata: Metadata) -> ImageRecord:
        """Change the metadata by a JSON merge patch (RFC 7396). Raises NotFound, InvalidValue, TooLarge."""
        check_metadata(metadata, self._max_metadata_bytes)
        collection = self._registry[name]

        async def patched() -> ImageRecord:
            collection.require_not_dropped()
            return await self._records.writer.patch(collection.number, id, metadata, self._max_metadata_bytes)

        return await self._write_queue.run(patched())

    async def delete(self, name: str, id: str) -> None:
        """Remove the image, its embedding, and its files unless another row uses them. Raises NotFound."""
        await self._deletions.one(self._registry[name], id)

    async def delete_matching(
        self, name: str, filter: Filter | None, *, lacking: bool, preview: bool
    ) -> Deletion:
        """Delete all images that pass the filter; with `lacking`, only those of them that cannot be found.

        With `preview`, only report what would be deleted. With `lacking`, raises NotReady while images are
        embedded or after that ended early, Conflict when the collection is not served: which images
        have no vector is not known then.
        """
        return await self._deletions.matching(self._registry[name], filter, lacking=lacking, preview=preview)

    async def embedding(self, name: str, id: str, pair: Pair | None = None) -> Embedding:
        """The embedding (D,) of a stored image, of `pair` or of the current one.

        Raises NotFound; NotReady while it has none yet.
        """
        collection = self._registry[name]
        identity = (pair or collection.require_served()).identity
        embedding = await self._records.vectors.find(collection.number, id, identity)
        if embedding is None:
            raise NotReady(f"image {id!r} is not embedded for this model version yet")
        return embedding

    async def vector_or_file(
        self, name: str, id: str, model: ModelInfo, reserve: ReserveBytes
    ) -> Embedding | bytes:
        """The stored embedding (D,) of an image if `model` made one, or else the bytes of its file.

        Calls `reserve` with the size of the file before it holds the bytes. Raises NotFound; Conflict if
        there is neither; CorruptStore.
        """
        collection = self._registry[name]
        embedding = await self._records.vectors.find(collection.number, id, model.identity)
        if embedding is not None:
            return embedding
        record = await self._record(collection, id)
        if not record.kept:
            raise Conflict(
                f"image {id!r} of collection {name!r} has a vector of another model than {model.ref} "
                f"({model.precision}), and no file that could be embedded"
            )
        reserve(record.n_bytes)
        return (await self.original(name, id))[0]

    async def _resolved(self, collection: Collection, filter: Filter | None) -> Filter | None:
        return None if filter is None else await self._labels.resolved(collection.number, filter)

    async def _same_pictures(self, collection: Collection) -> tuple[builtins.list[builtins.list[str]], int]:
        """The ids of images of one picture, and the number of images whose picture is unknown."""
        if collection.n_images > MAX_COMPARED:
            raise InvalidValue(
                f"collection {collection.name!r} has {collection.n_images:,} images, the same pictures are "
                f"found among at most {MAX_COMPARED:,}; bytes has no limit",
                "kind",
            )
        images = await self._records.rows.contents(collection.number)
        unknown = {one.key: one.sha256 for one in images if one.picture_hash is None}
        missing = [one.key for one in images if one.kept and one.picture_hash is None][:MAX_FOLDED]
        made: Mapping[int, bytes] = {}
        if missing:
            with collection.require_served().use() as pair:
                made = await self._originals.picture_hashes(
                    {key: unknown[key] for key in missing}, pair.version.embedder
                )
        return await asyncio.to_thread(same_pictures, images, made), len(unknown) - len(made)

    async def _record(self, collection: Collection, id: str) -> ImageRecord:
        return await self._records.rows.get(collection.number, id)

    async def _of_file(
        self, name: str, id: str, read: Callable[[str], Awaitable[bytes]]
    ) -> tuple[ImageRecord, bytes]:
        """Return an image's record, and what `read` returns for its sha256. Raises NotFound, CorruptStore.

        If the image was replaced or deleted after its record was read, its file is gone: read the record
        again.
        """
        collection = self._registry[name]
        record = await self._kept_image(collection, id)
        while True:
            try:
                return record, await read(record.sha256)
            except CorruptStore:
                before, record = record, await self._kept_image(collection, id)
                if record != before:
                    continue
                if is_missing(record.metadata):
                    raise NotFound(
                        f"the file of image {id!r} is missing from library {collection.name!r}: the image is "
                        "found again once a scan finds its file"
                    ) from None
                if record.referenced:
                    raise NotFound(
                        f"the file of image {id!r} is gone from library {collection.name!r}, or has changed, "
                        "since it was last looked at: it is looked at again within seconds"
                    ) from None
                raise

    async def _kept_image(self, collection: Collection, id: str) -> ImageRecord:
        record = await self._record(collection, id)
        if not record.kept:
            raise NotFound(f"no file is kept of image {id!r} in collection {collection.name!r}")
        return record
