"""The collections of a data folder: opened, created, changed, dropped."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from diptych.core.collections.delete import Deletions
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.ids import collection_not_found
from diptych.core.collections.stored.ports import ImageStore, Records
from diptych.core.collections.upkeep.exif_reading import ExifReading
from diptych.core.collections.upkeep.index_upkeep import IndexUpkeep
from diptych.core.collections.upkeep.indexes import Indexes
from diptych.core.collections.upkeep.reembed import Pace, Reembedder
from diptych.core.collections.upkeep.word_upkeep import index_words
from diptych.core.concurrency.shared import Shared
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.ports import Metrics
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.version import Version
from diptych.core.serving.versions import Versions
from diptych.core.types import CollectionChange, CollectionInfo, Keep, Target, TextFields
from diptych.errors import Conflict, DiptychError, NotFound, NotReady, StoreError

log = logging.getLogger(__name__)

RETRY_S = 60.0  # after images could not be embedded
LOOK_S = 2.0  # between two looks whether this server leads
TIDY_S = 3_600.0  # between two looks for what other servers have left


class CollectionRegistry:
    """The collections by name. Methods that change them run inside a write, except `open`."""

    def __init__(
        self,
        *,
        versions: Versions,
        serving: Serving,
        indexes: Indexes,
        images: ImageStore,
        files: FileReferences,
        deletions: Deletions,
        records: Records,
        reembedder: Reembedder,
        upkeep: IndexUpkeep,
        exif: ExifReading,
        pace: Callable[[], Pace],
        metrics: Metrics,
        read_only: bool = False,
    ) -> None:
        """`pace` gives way to requests. `read_only`: write nothing, and embed nothing that has no vector."""
        self._read_only = read_only
        self._versions = versions
        self._serving = serving
        self._indexes = indexes
        self._images = images
        self._records = records
        self._files = files
        self._deletions = deletions
        self._reembedder = reembedder
        self._upkeep = upkeep
        self._exif = exif
        self._pace = pace
        self._metrics = metrics
        self._collections: dict[str, Collection] = {}
        self._background = TaskSet()

    def __getitem__(self, name: str) -> Collection:
        if name not in self._collections:
            raise collection_not_found(name)
        return self._collections[name]

    def __contains__(self, name: str) -> bool:
        return name in self._collections

    def __iter__(self) -> Iterator[Collection]:
        """All collections, by name."""
        return iter([self._collections[name] for name in sorted(self._collections)])

    async def open(self) -> None:
        """Fill the indexes, remove files that no row uses, and start to embed images that need it.

        Raises CorruptStore. The indexes are filled while the store is checked, and nothing changes before
        that has ended.
        """
        try:
            sources = await self._records.catalogue.sources()
            await self._open_all(await self._records.catalogue.list(), sources)
        except Exception:
            await self._records.require_sound()  # damage explains any other error
            raise
        await self._records.require_sound()
        for collection in self:
            if collection.pair is not None and collection.pair.index.pending:
                log.warning(
                    "collection %s: %d of %d images have no vector yet",
                    *(collection.name, len(collection.pair.index.pending), collection.n_images),
                )
        if not self._read_only:
            await self._indexes.remove_unused(await self._used_indexes())
            self._complete_all()
            if self._records.peers.is_alone:
                await self._begin_to_lead()
            else:
                self._background.start(self._lead(), "work of one server for all")
        self._background.start(self._upkeep.run(lambda: self), "training indexes")

    async def follow(self, stored: Sequence[CollectionInfo], *, anew: bool) -> None:
        """Take over what other servers have made, changed and dropped. `stored`: all collections that are.

        `anew`: read all rows again; the other snapshots are emptied. Only inside a write.
        """
        there = {info.number: info for info in stored}
        for collection in self:
            if collection.number not in there:
                self._forget(collection)
        known = {collection.number: collection for collection in self}
        for number, collection in known.items():
            info = there[number]
            if info.name != collection.name:
                self._metrics.set_collection(collection.name, None)
            collection.name, collection.keep, collection.text_fields = info.name, info.keep, info.text_fields
        self._collections = {collection.name: collection for collection in known.values()}
        lacking = there.keys() if anew else there.keys() - known.keys()
        if anew:
            self._serving.drop_previous()
            self._serving.begin_again()
        if lacking:
            sources = await self._records.catalogue.sources()
            stored = await self._records.catalogue.list()
            await self._open_all([info for info in stored if info.number in lacking], sources)

    async def stop(self) -> None:
        """Stop embedding, training and reading EXIF in the background."""
        await self._background.close()

    async def close(self) -> None:
        """Close the indexes."""
        await self._indexes.close()
        for collection in self:
            for index in self._serving.indexes(collection.number):
                await index.vectors.close()

    def require_name_free(self, name: str) -> None:
        """Raise Conflict when the name is taken."""
        if name in self:
            raise Conflict(f"there is a collection named {name!r} already")

    async def create(self, name: str, keep: Keep, text_fields: TextFields = None) -> Collection:
        """Create an empty collection in all snapshots. Raises Conflict when the name is taken."""
        self.require_name_free(name)
        serving = self._serving
        async with AsyncExitStack() as stack:
            pair = await stack.enter_async_context(self._indexes.pair(serving.current.shared_version, None))
            others = [
                None
                if one is None
                else await stack.enter_async_context(self._empty(one.shared_version, pair))
                for one in (serving.next, serving.previous)
            ]
            info = await self._records.catalogue.create(
                name,
                keep,
                pair.identity,
                pair.model.ref,
                text_fields=text_fields,
                exif=self._exif.level,
            )
            serving.set_current(info.number, pair)
            collection = self._place(self._made(info))
            for put, other in zip((serving.set_next, serving.set_previous), others, strict=True):
                if other is not None:
                    put(collection.number, other)
        return collection

    def require_renamable(self, collection: Collection, name: str) -> None:
        """Raise Conflict when another collection has the name."""
        if name != collection.name:
            self.require_name_free(name)

    async def change(self, collection: Collection, change: CollectionChange) -> None:
        """Change all of it or nothing.

        Raises NotFound when the collection was dropped, Conflict when the name is taken, or a job adds to it.
        """
        name, keep = change.name or collection.name, change.keep or collection.keep
        text_fields = change.text_fields if change.sets_text_fields else collection.text_fields
        collection.require_not_dropped()
        self.require_renamable(collection, name)
        await self._records.catalogue.change(collection.number, name, keep, text_fields)
        if name != collection.name:
            self._rename(collection, name)
        collection.keep = keep
        if text_fields != collection.text_fields:
            collection.text_fields = text_fields
            self._index_words(collection)

    async def drop(self, collection: Collection) -> None:
        """Forget it; its images are left to `Deletions.clear`. Raises NotFound."""
        collection.require_not_dropped()
        await self._records.catalogue.drop(collection.number)
        self._forget(collection)
        await self._indexes.remove_unused(await self._used_indexes())

    def _forget(self, collection: Collection) -> None:
        """Know a collection that was dropped no more."""
        del self._collections[collection.name]
        collection.dropped = True
        collection.report_metrics()
        self._serving.remove(collection.number)

    async def _lead(self) -> None:
        """Do the work of one server for all as soon as this one leads, and again what others have left.

        The start does not wait for it: to list all objects of a store takes minutes for a million.
        """
        is_leading = False
        while not is_leading:
            with suppress(StoreError):
                if await self._records.peers.leads():
                    await self._begin_to_lead()
                    is_leading = True
            if not is_leading:
                await asyncio.sleep(LOOK_S)
        while True:
            await asyncio.sleep(TIDY_S)
            with suppress(StoreError):
                await self._tidy()

    async def _begin_to_lead(self) -> None:
        """Remove what is not used, and begin to bring rows up to date in the background."""
        await self._tidy()
        unread = await self._exif.begin(self)
        self._background.start(self._exif.run(unread, self._pace()), "reading EXIF")

    async def _tidy(self) -> None:
        """Finish what a server that was killed has left, and remove files that no row uses."""
        n_removed = 0
        async for page in self._images.stored():
            n_removed += await self._files.sweep(page)
        if n_removed:
            log.warning("%d image files that no row uses are removed", n_removed)
        for number in await self._records.catalogue.dropped():
            self._background.start(self._clear(number), "removing a dropped collection")
        for collection in self:
            self._index_words(collection)

    async def _open_all(self, stored: Sequence[CollectionInfo], sources: dict[str, Target]) -> None:
        """Open collections; not those that another server drops meanwhile."""
        for info in stored:
            try:
                self._place(await self._opened(info, sources))
            except NotFound:
                log.info("collection %s was dropped by another server while it was opened", info.name)

    async def _opened(self, info: CollectionInfo, sources: dict[str, Target]) -> Collection:
        """Open one collection with the vectors that it had, or with those of the version that serves.

        It is known once this has succeeded.
        """
        collection = self._made(info)
        serves = self._serving.current.version
        source = None if info.identity is None else sources.get(info.identity)
        if info.identity == serves.identity:
            source = serves.target
        elif source is not None:  # several versions may make vectors of one identity
            source = replace(source, ref=info.ref or source.ref)
        reason = "no version is at hand that made its vectors"
        if source is not None:
            try:
                version = await self._versions.acquire(source)
            except NotReady:
                raise
            except DiptychError as error:
                reason = f"{source} cannot be loaded: {error}"
                log.warning("collection %s: %s", info.name, reason)
            else:
                try:
                    await self._open_stored(collection, version)
                finally:
                    version.release()
                return collection
        await self._open_anew(collection, reason)
        return collection

    async def _open_stored(self, collection: Collection, version: Shared[Version]) -> None:
        async with self._indexes.pair(version, collection) as pair:
            pair.index.failed |= pair.index.without_image  # their vectors are damaged or lost
            pair.index.without_image.clear()
            self._serving.set_current(collection.number, pair)

    async def _open_anew(self, collection: Collection, reason: str) -> None:
        """Embed a collection for the version that serves, as nothing here makes vectors like its own.

        It is not served if that is impossible, since some rows keep no image.
        """
        version = self._serving.current.shared_version
        collection.reason = reason
        if self._read_only or await self._records.peers.others():
            return
        async with self._indexes.pair(version, collection) as pair:
            if n_unkept := len(pair.index.without_image):
                collection.stays = (
                    f"{n_unkept} of {collection.n_images} rows keep no image that could be embedded again"
                )
                return
            await self._records.catalogue.move(collection.number, version.value.target, pair.identity)
            self._serving.set_current(collection.number, pair)
            collection.reason = ""

    async def _clear(self, number: int) -> None:
        """Remove what a kill has left of a dropped collection."""
        try:
            await self._deletions.clear(number)
        except StoreError as error:
            log.warning("images of a dropped collection are left until the next start: %s", error)

    def _complete_all(self) -> None:
        """Embed what indexes lack, in the background. Each server does, as it has to know what fails; what
        another one has embedded first is not embedded again.
        """
        for collection in self:
            if collection.pair is not None and collection.pair.index.pending:
                self._background.start(
                    self._complete(collection, collection.pair), f"embedding collection {collection.name}"
                )

    async def _complete(self, collection: Collection, pair: Pair) -> None:
        """Embed what the index lacks: searches wait for it, or do not see it yet."""
        pace = self._pace()
        while pair.index.pending and self._serving.holds(collection.number, pair):
            try:
                await self._reembedder.run(collection, pair, pace)
                collection.reason = ""
            except NotReady:
                raise
            except DiptychError as error:
                collection.reason = str(error)
                log.warning("collection %s cannot be embedded, it is tried again: %s", collection.name, error)
                await asyncio.sleep(RETRY_S)

    def _index_words(self, collection: Collection) -> None:
        """Index the words of the rows that were there before, in the background."""
        indexing = index_words(self._records.words, collection, self._pace())
        self._background.start(indexing, f"indexing words of collection {collection.name}")

    @asynccontextmanager
    async def _empty(self, version: Shared[Version], made: Pair) -> AsyncIterator[Pair]:
        """Vectors of a new collection that `version` makes; `made` are those that it has already."""
        if version.value.identity == made.identity:
            yield Pair(version, made.shared_index)
        else:
            async with self._indexes.pair(version, None) as pair:
                yield pair

    def _made(self, info: CollectionInfo) -> Collection:
        return Collection(
            number=info.number,
            name=info.name,
            model=info.model,
            created_at=info.created_at,
            serving=self._serving,
            metrics=self._metrics,
            n_images=info.n_images,
            as_of=info.as_of,
            keep=info.keep,
            text_fields=info.text_fields,
            stored=info.ref,
            read_only=self._read_only,
        )

    def _place(self, collection: Collection) -> Collection:
        """Know a collection from now on."""
        self._collections[collection.name] = collection
        collection.report_metrics()
        return collection

    async def _used_indexes(self) -> set[tuple[int, str]]:
        """The numbers of collections, with the identities of vectors that they have, or go back to."""
        found = {(one.number, pair.identity) for one in self for pair in self._serving.pairs(one.number)}
        for one in await self._records.catalogue.list():
            stored = (one.identity, one.previous_identity)
            found |= {(one.number, identity) for identity in stored if identity is not None}
        return found

    def _rename(self, collection: Collection, name: str) -> None:
        self._metrics.set_collection(collection.name, None)
        del self._collections[collection.name]
        collection.name = name
        self._collections[name] = collection
        collection.report_metrics()
