"""Put prepared rows into files, store and index, and drop what they replace; knows nothing of encoding."""

from collections.abc import Sequence

import numpy as np

from diptych.core.drafts import Draft, against, index_change
from diptych.core.ports import ImageStore, RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import AddOutcome, NewRow, PutResult
from diptych.errors import InputError


class Storing:
    """The order is file, row, index: a kill in between leaves at worst a file that no row uses, which the
    next start removes. An image whose row is there although the index failed is listed and counted; the next
    start, or adding it again, makes it searchable.
    """

    def __init__(self, *, images: ImageStore, records: RecordStore, identity: str) -> None:
        self._images = images
        self._records = records
        self._identity = identity

    async def decided(
        self, shelf: Shelf, drafts: Sequence[Draft | InputError], replace: bool
    ) -> dict[int, AddOutcome]:
        """Outcomes that need no work: bad items, and what is there already and can be found."""
        ids = [draft.id for draft in drafts if isinstance(draft, Draft)]
        known = await self._records.find(shelf.name, ids)
        lacking = await self.lacking(shelf)
        decided: dict[int, AddOutcome] = {}
        for i, draft in enumerate(drafts):
            if isinstance(draft, InputError):
                decided[i] = AddOutcome(i, None, "failed", draft)
            elif draft.id in lacking:
                continue
            elif (early := against(i, draft, known.get(draft.id), replace)) is not None:
                decided[i] = early
        return decided

    async def lacking(self, shelf: Shelf) -> set[str]:
        """Ids of images that the index lacks, as their file was lost, none is kept or it failed: adding them
        again mends that. None while they are being embedded anyway.
        """
        if shelf.state not in {"ready", "other_version"} or not shelf.pending:
            return set()
        return {record.id for record in (await self._records.by_key(sorted(shelf.pending))).values()}

    async def mend_files(self, payloads: dict[str, bytes]) -> None:
        """Files of images that are there already may have been lost or damaged since: here they are again.

        Only inside a write, as all that follows.
        """
        used = await self._records.used(list(payloads))
        await self._images.put({sha256: payloads[sha256] for sha256 in used})

    async def store(
        self, shelf: Shelf, rows: Sequence[NewRow], payloads: dict[str, bytes], replace: bool
    ) -> list[PutResult]:
        """N rows and the files of those that are kept, by sha256 -> N results.

        Files that lost their last row, or never got one, are removed. Raises NotFound when the collection was
        dropped meanwhile, StoreError.
        """
        if not rows:
            return []
        shelf.require_kept()
        released = list(payloads)
        try:
            await self._images.put(payloads)
            results = await self._records.put(shelf.name, rows, identity=self._identity, replace=replace)
            released += [result.released for result in results if result.released is not None]
            removed, keys, embeddings = index_change(rows, results)
            await shelf.change(removed, keys, embeddings)
            await self._embed_late(shelf, rows, results)
        finally:
            await self.remove_unused(released)
        return results

    async def remove_unused(self, sha256s: Sequence[str]) -> None:
        """Delete the files of these that no row uses."""
        unused = set(sha256s) - await self._records.used(sha256s)
        await self._images.remove(sorted(unused))

    async def _embed_late(self, shelf: Shelf, rows: Sequence[NewRow], results: Sequence[PutResult]) -> None:
        """Rows that were there and could not be found have an embedding in store and index now."""
        late = {
            result.key: row.embedding
            for row, result in zip(rows, results, strict=True)
            if result.status != "conflict" and result.key in shelf.pending
        }
        if late:
            embeddings = np.stack(list(late.values()))
            await self._records.put_embeddings(list(late), embeddings, self._identity)
            await shelf.fill(list(late), embeddings)
