"""Delete images from a collection, by id or by filter."""

from collections.abc import Awaitable, Callable, Sequence

from diptych.core.collections.metadata.filters import Filter
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.ports import FilterResolver, Records
from diptych.core.collections.upkeep.indexes import all_missing
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.types import NO_ROWS, Deletion, Removed
from diptych.errors import NotFound, StoreFull

CHUNK = 5_000  # rows in one transaction
TURN = 500  # rows of a dropped collection, and their files, that other writes wait for: a tenth of a second
N_SHOWN = 100  # ids in a preview


class Deletions:
    """Deletes in the order row, index, file, so that an acknowledged deletion never returns; a file that is
    left behind is removed at the next start.
    """

    def __init__(
        self,
        *,
        files: FileReferences,
        records: Records,
        labels: FilterResolver,
        write_queue: SerialWriteQueue,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up`, inside a write, lets filters know what other servers have written."""
        self._files = files
        self._records = records
        self._labels = labels
        self._write_queue = write_queue
        self._catch_up = catch_up

    async def one(self, collection: Collection, id: str) -> None:
        """Delete one image. Raises NotFound."""
        await self._write_queue.run(self._one(collection, id))

    async def matching(
        self, collection: Collection, filter: Filter | None, *, lacking: bool, preview: bool
    ) -> Deletion:
        """Delete all rows that pass the filter, or with `lacking` those that cannot be found. See
        Collections.
        """
        if preview:
            return await self._previewed(collection, filter, lacking)
        return Deletion(await self._write_queue.run(self._matching(collection, filter, lacking)))

    async def clear(self, c: int) -> None:
        """Remove the images of a dropped collection, part by part: other writes run in between.

        After a kill the next start goes on. Raises StoreError, NotReady.
        """
        size = TURN
        while True:
            try:
                removed = await self._write_queue.run(self._clear(c, size))
            except StoreFull:  # as `_delete`
                if size == 1:
                    raise
                size = size // 4 or 1
                continue
            if len(removed.keys) < size:
                return

    async def _previewed(self, collection: Collection, filter: Filter | None, lacking: bool) -> Deletion:
        """Count and name the images that `_matching` would delete."""
        keys = await self._keys(collection, filter, lacking)
        found = await self._records.rows.by_key(keys[:N_SHOWN])
        return Deletion(len(keys), tuple(found[key].id for key in keys[:N_SHOWN] if key in found))

    async def _matching(self, collection: Collection, filter: Filter | None, lacking: bool) -> int:
        """Select and delete in one write, so that no row can change in between.

        Rows that another server has changed all the same are left, and selected again if they still match.
        """
        n_deleted = 0
        while True:
            collection.require_not_dropped()
            as_of = await self._records.vectors.last_change(collection.number)
            await self._catch_up()  # after that, so that what is selected is at least as new
            keys = await self._keys(collection, filter, lacking)
            n_new = await self._delete(collection, keys, as_of)
            n_deleted += n_new
            if n_new == len(keys):
                return n_deleted

    async def _delete(self, collection: Collection, keys: Sequence[int], as_of: int) -> int:
        """Delete in transactions, which shrink while a full disk refuses them: it has little room for their
        log. Removed files make more room. Returns how many rows there were that had not changed.
        """
        await self._files.require_available()
        size, done, n_deleted = CHUNK, 0, 0
        while done < len(keys):
            part = keys[done : done + size]
            try:
                removed = await self._records.writer.delete(collection.number, part, as_of=as_of)
            except StoreFull:
                if len(part) == 1:
                    raise
                size = len(part) // 4 or 1
                continue
            await self._finish(collection, removed)
            done, n_deleted = done + len(part), n_deleted + len(removed.keys)
        return n_deleted

    async def _clear(self, c: int, size: int) -> Removed:
        await self._files.require_available()
        removed = await self._records.catalogue.clear(c, size)
        await self._files.remove(removed.released)
        return removed

    async def _one(self, collection: Collection, id: str) -> None:
        collection.require_not_dropped()
        await self._files.require_available()
        keys = await self._records.rows.keys(collection.number, [id])
        if not keys:
            raise NotFound(f"no image {id[:140]!r} in collection {collection.name!r}")
        await self._finish(collection, await self._records.writer.delete(collection.number, keys))

    async def _finish(self, collection: Collection, removed: Removed) -> None:
        await collection.change(removed.keys, (), NO_ROWS, removed.change)
        await self._files.remove(removed.released)

    async def _keys(self, collection: Collection, filter: Filter | None, lacking: bool) -> list[int]:
        if not lacking:
            return [] if filter is None else await self._passing(collection, filter)
        keys = await self._keys_without_vector(collection)
        return sorted(keys if filter is None else keys.intersection(await self._passing(collection, filter)))

    async def _passing(self, collection: Collection, filter: Filter) -> list[int]:
        resolved = await self._labels.resolved(collection.number, filter)
        found = await self._records.filtered.passing(collection.number, resolved)
        return [int(key) for key in found.keys]

    async def _keys_without_vector(self, collection: Collection) -> set[int]:
        """Keys of rows without a vector in the store. Rows that are missing only in the index are
        left to the next start.

        Raises NotReady or Conflict while that is not known. Called in the write itself, as a change of
        precision may have run before it.
        """
        pair = collection.require_embedded()
        if not pair.index.unindexed:
            return set()
        return set(await all_missing(self._records.vectors, collection.number, pair.identity))
