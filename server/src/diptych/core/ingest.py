"""Add images to a collection, durably and only once; knows nothing of HTTP, SQL or what runs the model."""

import asyncio
from collections.abc import Sequence

import numpy as np

from diptych.core.drafts import Draft, acknowledged, against, index_change, unchanged
from diptych.core.embedder import Embedder
from diptych.core.metadata import check_metadata
from diptych.core.names import check_id, content_id, sha256_of
from diptych.core.ports import Decoder, ImageStore, RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import (
    AddOutcome,
    Embedding,
    NewImage,
    NewRow,
    PutResult,
)
from diptych.core.writes import Writes
from diptych.errors import DiptychError, InputError


class Ingest:
    """The line from image files to acknowledged rows.

    An acknowledged image has its file and its row on the disk, and is searchable. The order is file, row,
    index: a kill in between leaves at worst a file that no row uses, which the next start removes. An image
    whose row is there although the index failed is listed and counted; the next start, or adding it again,
    makes it searchable.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        decoder: Decoder,
        images: ImageStore,
        records: RecordStore,
        writes: Writes,
        identity: str,
        max_metadata_bytes: int,
    ) -> None:
        self._embedder = embedder
        self._decoder = decoder
        self._images = images
        self._records = records
        self._writes = writes
        self._identity = identity
        self._max_metadata_bytes = max_metadata_bytes

    async def add(self, shelf: Shelf, items: Sequence[NewImage], *, replace: bool) -> list[AddOutcome]:
        """N items -> N outcomes in their order; a bad item fails alone.

        Raises for all of them: NotFound when the collection was dropped meanwhile, Overloaded, NotReady,
        StoreError. Nothing is acknowledged then; adding the same again is safe.
        """
        drafts = await asyncio.to_thread(self._draft_all, items)  # N of draft or error
        decided = await self._decide_early(shelf, drafts, replace)  # what needs no work
        await self._writes.run(self._mend_files(unchanged(drafts, decided)))
        todo = {i: draft for i, draft in enumerate(drafts) if isinstance(draft, Draft) and i not in decided}
        prepared = await self._prepare(list(todo.values()))  # row or error each
        good = [(i, row) for i, row in zip(todo, prepared, strict=True) if isinstance(row, NewRow)]
        payloads = {row.sha256: items[i].payload for i, row in good}
        stored = await self._writes.run(self._store(shelf, [row for _, row in good], payloads, replace))
        decided |= {
            i: AddOutcome(i, todo[i].id, "failed", error)
            for i, error in zip(todo, prepared, strict=True)
            if isinstance(error, DiptychError)
        }
        decided |= {i: acknowledged(i, row, result) for (i, row), result in zip(good, stored, strict=True)}
        return [decided[i] for i in range(len(items))]

    async def remove_unused(self, sha256s: Sequence[str]) -> None:
        """Delete the files of these that no row uses. Only inside a write."""
        unused = set(sha256s) - await self._records.used(sha256s)
        await self._images.remove(sorted(unused))

    def _draft_all(self, items: Sequence[NewImage]) -> list[Draft | InputError]:
        return [self._draft(item) for item in items]

    def _draft(self, item: NewImage) -> Draft | InputError:
        try:
            if item.metadata is not None:
                check_metadata(item.metadata, self._max_metadata_bytes)
        except InputError as error:
            return error.named("metadata")
        sha256 = sha256_of(item.payload)
        try:
            id = check_id(item.id) if item.id is not None else content_id(sha256)
        except InputError as error:
            return error.named("id")
        return Draft(id, sha256, item.payload, item.metadata)

    async def _decide_early(
        self, shelf: Shelf, drafts: Sequence[Draft | InputError], replace: bool
    ) -> dict[int, AddOutcome]:
        """Outcomes that need no decoding and no encoding: bad items, and images that are there already."""
        ids = [draft.id for draft in drafts if isinstance(draft, Draft)]
        known = await self._records.find(shelf.name, ids)
        lacking = await self._lacking(shelf)
        decided: dict[int, AddOutcome] = {}
        for i, draft in enumerate(drafts):
            if isinstance(draft, InputError):
                decided[i] = AddOutcome(i, None, "failed", draft)
            elif draft.id in lacking:
                continue
            elif (early := against(i, draft, known.get(draft.id), replace)) is not None:
                decided[i] = early
        return decided

    async def _lacking(self, shelf: Shelf) -> set[str]:
        """Ids of images that the index lacks, as their file was lost or it failed: adding them mends that."""
        if shelf.state != "ready" or not shelf.pending:
            return set()
        return {record.id for record in (await self._records.by_key(sorted(shelf.pending))).values()}

    async def _mend_files(self, payloads: dict[str, bytes]) -> None:
        """Files of images that are there already may have been lost or damaged since: here they are again."""
        used = await self._records.used(list(payloads))
        await self._images.put({sha256: payloads[sha256] for sha256 in used})

    async def _prepare(self, drafts: Sequence[Draft]) -> list[NewRow | DiptychError]:
        """Read each header and embed: N drafts -> N rows ready to be stored, or errors."""
        outcomes = await self._embedder.embed_images([draft.payload for draft in drafts])
        return await asyncio.gather(*map(self._row, drafts, outcomes))

    async def _row(self, draft: Draft, outcome: Embedding | DiptychError) -> NewRow | DiptychError:
        if isinstance(outcome, DiptychError):
            return outcome
        info = await self._decoder.probe(draft.payload)
        return NewRow(
            id=draft.id,
            sha256=draft.sha256,
            n_bytes=len(draft.payload),
            media_type=info.media_type,
            width=info.width,
            height=info.height,
            metadata=draft.metadata,
            embedding=outcome,
        )

    async def _store(
        self, shelf: Shelf, rows: Sequence[NewRow], payloads: dict[str, bytes], replace: bool
    ) -> list[PutResult]:
        """File, row, index; then files that lost their last row, or never got one, are removed."""
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
