"""Put prepared rows into store and index, and drop what they replace; knows nothing of encoding or files."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.file_references import FileReferences
from diptych.core.collections.group_commit import Tell
from diptych.core.collections.ports import RecordStore
from diptych.core.collections.resolve import ResolvedItem, against, index_change
from diptych.core.types import AddOutcome, NewRow, PutResult
from diptych.errors import InputError


class RowCommitter:
    """The order is file, row, index: the files of the rows are there, and claimed (see FileReferences).

    An image whose row is there although the index failed is listed and counted; the next start, or adding it
    again, makes it searchable.
    """

    def __init__(self, *, files: FileReferences, records: RecordStore) -> None:
        self._files = files
        self._records = records

    async def decided(
        self, shelf: LoadedCollection, drafts: Sequence[ResolvedItem | InputError], replace: bool
    ) -> dict[int, AddOutcome]:
        """Outcomes that need no work: bad items, and what is there already and can be found.

        Of an id that stands there several times nothing is decided: what is there when its turn comes is
        what the one before it left.
        """
        n_times = Counter(draft.id for draft in drafts if isinstance(draft, ResolvedItem))
        known = await shelf.read(lambda name: self._records.find(name, list(n_times)))
        lacking = await self.lacking(shelf)
        decided: dict[int, AddOutcome] = {}
        for i, draft in enumerate(drafts):
            if isinstance(draft, InputError):
                decided[i] = AddOutcome(i, None, "failed", draft)
            elif draft.id in lacking or n_times[draft.id] > 1:
                continue
            elif (early := against(i, draft, known.get(draft.id), replace)) is not None:
                decided[i] = early
        return decided

    async def lacking(self, shelf: LoadedCollection) -> set[str]:
        """Ids of images that the index lacks, as their file was lost, none is kept or it failed: adding them
        again mends that. None while they are being embedded anyway.
        """
        if shelf.state not in {"ready", "other_version"} or not shelf.pending:
            return set()
        return {record.id for record in (await self._records.by_key(sorted(shelf.pending))).values()}

    async def store(
        self, shelf: LoadedCollection, rows: Sequence[NewRow], replace: bool, news: Tell | None
    ) -> list[PutResult]:
        """N rows -> N results; files that lost their last row are removed. Only inside a write.

        Raises NotFound when the collection was dropped meanwhile, EngineChanged, StoreError.
        """
        shelf.require_kept()
        identity = shelf.require_rows_by_engine(rows)
        await self._files.require_there()  # what is replaced has one
        results = await self._records.put(shelf.name, rows, identity=identity, replace=replace, news=news)
        if not rows:
            return []
        try:
            removed, keys, embeddings = index_change(rows, results)
            await shelf.change(removed, keys, embeddings)
            await self._fill_late(shelf, rows, results)
        finally:
            await self._files.remove_unused({one.released for one in results if one.released is not None})
        return results

    async def _fill_late(
        self, shelf: LoadedCollection, rows: Sequence[NewRow], results: Sequence[PutResult]
    ) -> None:
        """Rows that were there and could not be found: the store has their embeddings now, and the index."""
        late = {
            result.key: row.embedding
            for row, result in zip(rows, results, strict=True)
            if result.status != "conflict" and result.key in shelf.pending
        }
        if late:
            await shelf.fill(list(late), np.stack(list(late.values())))
