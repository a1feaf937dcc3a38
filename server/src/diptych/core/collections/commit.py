"""Put prepared rows into store and index, and remove the files that they replace."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from diptych.core.collections.resolve import ResolvedItem, early_outcome, index_change
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.file_references import FileReferences
from diptych.core.collections.stored.ports import Records
from diptych.core.job import JobNote
from diptych.core.types import AddOutcome, NewRow, PutResult
from diptych.errors import InputError


class RowCommitter:
    """Commits in the order file, row, index: the files of the rows are written and claimed (see
    FileReferences).

    An image whose row is stored although the index failed is listed and counted; the next start, or adding it
    again, makes it searchable.
    """

    def __init__(self, *, files: FileReferences, records: Records) -> None:
        self._files = files
        self._records = records

    async def early_outcomes(
        self, collection: Collection, resolved: Sequence[ResolvedItem | InputError], replace: bool
    ) -> dict[int, AddOutcome]:
        """Outcomes that need no work: bad items, and images that are stored already and can be found.

        An id that occurs several times gets no early outcome: what is stored when its turn comes depends on
        the item before it.
        """
        n_times = Counter(item.id for item in resolved if isinstance(item, ResolvedItem))
        known = await self._records.rows.find(collection.number, list(n_times))
        to_repair = await self.ids_to_repair(collection)
        early: dict[int, AddOutcome] = {}
        for i, item in enumerate(resolved):
            if isinstance(item, InputError):
                early[i] = AddOutcome(i, None, "failed", item)
            elif item.id in to_repair or n_times[item.id] > 1:
                continue
            elif (outcome := early_outcome(i, item, known.get(item.id), replace)) is not None:
                early[i] = outcome
        return early

    async def ids_to_repair(self, collection: Collection) -> set[str]:
        """Ids of images that adding again would repair: they are not in the index, as their file was lost,
        none is kept, or the index failed. Empty while they are being embedded anyway.
        """
        pair = collection.pair
        if pair is None or collection.state != "ready" or not pair.index.unindexed:
            return set()
        records = await self._records.rows.by_key(sorted(pair.index.unindexed))
        return {record.id for record in records.values()}

    async def store(
        self,
        collection: Collection,
        rows: Sequence[NewRow],
        replace: bool,
        notes: Sequence[JobNote],
    ) -> list[PutResult]:
        """Store N rows and return N results; files that lost their last row are removed. Only inside a write.

        Raises NotFound when the collection was dropped meanwhile, PairChanged, StoreError.
        """
        collection.require_not_dropped()
        identity = collection.require_identity_of(rows)
        await self._files.require_available()  # a replaced image has a file
        written = await self._records.writer.put(
            collection.number, rows, identity=identity, replace=replace, notes=notes
        )
        results = written.results
        if not rows:
            return []
        try:
            removed, keys, embeddings = index_change(rows, results)
            await collection.change(removed, keys, embeddings, written.change)
            await self._fill_late(collection, rows, results)
        finally:
            await self._files.remove_unused({one.released for one in results if one.released is not None})
        return results

    async def _fill_late(
        self, collection: Collection, rows: Sequence[NewRow], results: Sequence[PutResult]
    ) -> None:
        """Index rows that existed and could not be found: the store has their embeddings now."""
        if collection.pair is None:
            return
        index = collection.pair.index
        late = {
            result.key: row.embedding
            for row, result in zip(rows, results, strict=True)
            if result.status != "conflict" and result.key in index.unindexed
        }
        if late:
            await index.fill(list(late), np.stack(list(late.values())))
            for other in collection.serving.indexes(collection.number):
                if other is not index:
                    other.failed.difference_update(late)  # its file is there again
