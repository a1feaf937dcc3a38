"""Take images out of a collection, by id or by filter; knows nothing of HTTP, SQL or files."""

from collections.abc import Sequence

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.filters import Filter
from diptych.core.collections.ports import RecordStore
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.types import NO_ROWS, Deletion, Removed
from diptych.errors import StoreFull

CHUNK = 5_000  # rows in one transaction: what other writes wait for
N_SHOWN = 100  # ids in a preview


class Deletions:
    """Row, index, file: what was acknowledged as deleted never returns; a file left behind is an orphan."""

    def __init__(self, *, files: FileReferences, records: RecordStore, writes: SerialWriteQueue) -> None:
        self._files = files
        self._records = records
        self._writes = writes

    async def one(self, shelf: LoadedCollection, id: str) -> None:
        """Raises NotFound."""
        await self._writes.run(self._one(shelf, id))

    async def matching(
        self, shelf: LoadedCollection, filter: Filter | None, *, lacking: bool, preview: bool
    ) -> Deletion:
        """All rows that pass; with `lacking`, those that cannot be found. See Collections.delete_matching."""
        if preview:
            return await self._previewed(shelf, filter, lacking)
        return Deletion(await self._writes.run(self._matching(shelf, filter, lacking)))

    async def all_of(self, shelf: LoadedCollection) -> None:
        """Only inside a write."""
        await self._delete(shelf, await self._records.keys(shelf.name))

    async def _previewed(self, shelf: LoadedCollection, filter: Filter | None, lacking: bool) -> Deletion:
        """Counts and names what `_matching` would delete."""
        keys = await self._keys(shelf, filter, lacking)
        found = await self._records.by_key(keys[:N_SHOWN])
        return Deletion(len(keys), tuple(found[key].id for key in keys[:N_SHOWN] if key in found))

    async def _matching(self, shelf: LoadedCollection, filter: Filter | None, lacking: bool) -> int:
        """One write from the look at the rows to their end: none of them can change in between."""
        shelf.require_kept()
        keys = await self._keys(shelf, filter, lacking)
        await self._delete(shelf, keys)
        return len(keys)

    async def _delete(self, shelf: LoadedCollection, keys: Sequence[int]) -> None:
        """In transactions that are ever smaller while a full disk refuses them, as it has little room for
        their log. Files that go make more.
        """
        await self._files.require_there()
        size, done = CHUNK, 0
        while done < len(keys):
            part = keys[done : done + size]
            try:
                removed = await self._records.delete_keys(part)
            except StoreFull:
                if len(part) == 1:
                    raise
                size = len(part) // 4 or 1
                continue
            await self._finish(shelf, removed)
            done += len(part)

    async def _one(self, shelf: LoadedCollection, id: str) -> None:
        shelf.require_kept()
        await self._files.require_there()
        await self._finish(shelf, await self._records.delete(shelf.name, id))

    async def _finish(self, shelf: LoadedCollection, removed: Removed) -> None:
        await shelf.change(removed.keys, (), NO_ROWS)
        await self._files.remove(removed.released)

    async def _keys(self, shelf: LoadedCollection, filter: Filter | None, lacking: bool) -> list[int]:
        if not lacking:
            return [] if filter is None else await self._passing(shelf, filter)
        lacks = await self._lacking(shelf)
        return sorted(lacks if filter is None else lacks.intersection(await self._passing(shelf, filter)))

    async def _passing(self, shelf: LoadedCollection, filter: Filter) -> list[int]:
        found = await shelf.read(lambda name: self._records.matching_keys(name, filter))
        return [int(key) for key in found]

    async def _lacking(self, shelf: LoadedCollection) -> set[int]:
        """Keys of rows without a vector in the store: those that only the index lacks, a start puts there.

        Raises NotReady, Conflict while that is not known: asked in the write itself, as a change of precision
        may have had its turn before.
        """
        engine = shelf.require_tried()
        if not shelf.pending:
            return set()
        return set(await shelf.read(lambda name: self._records.missing(name, engine.model.identity)))
