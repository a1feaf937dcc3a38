"""Add images to a collection, durably and only once; knows nothing of HTTP, SQL or what runs the model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.embedder import Embedder
from diptych.core.metadata import check_metadata
from diptych.core.names import check_id, content_id, sha256_of
from diptych.core.ports import Decoder, ImageStore, RecordStore
from diptych.core.shelf import Shelf
from diptych.core.types import (
    NO_ROWS,
    AddOutcome,
    Embedding,
    Embeddings,
    ImageRecord,
    Metadata,
    NewImage,
    NewRow,
    PutResult,
)
from diptych.core.writes import Writes
from diptych.errors import Conflict, DiptychError, InputError


@dataclass(frozen=True)
class _Draft:
    """An item whose id and metadata are fit to be stored."""

    id: str
    sha256: str
    payload: bytes
    metadata: Metadata | None


class Ingest:
    """The line from image files to acknowledged rows.

    An acknowledged image has its file and its row on the disk, and is searchable. The order is file, row,
    index: a kill in between leaves at worst a file that no row uses, which the next start removes.
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
        todo = {i: draft for i, draft in enumerate(drafts) if isinstance(draft, _Draft) and i not in decided}
        prepared = await self._prepare(list(todo.values()))  # row or error each
        good = [(i, row) for i, row in zip(todo, prepared, strict=True) if isinstance(row, NewRow)]
        payloads = {row.sha256: items[i].payload for i, row in good}
        stored = await self._writes.run(self._store(shelf, [row for _, row in good], payloads, replace))
        decided |= {
            i: AddOutcome(i, todo[i].id, "failed", error)
            for i, error in zip(todo, prepared, strict=True)
            if isinstance(error, DiptychError)
        }
        decided |= {i: _acknowledged(i, row, result) for (i, row), result in zip(good, stored, strict=True)}
        return [decided[i] for i in range(len(items))]

    async def remove_unused(self, sha256s: Sequence[str]) -> None:
        """Delete the files of these that no row uses. Only inside a write."""
        unused = set(sha256s) - await self._records.used(sha256s)
        await self._images.remove(sorted(unused))

    def _draft_all(self, items: Sequence[NewImage]) -> list[_Draft | InputError]:
        return [self._draft(item) for item in items]

    def _draft(self, item: NewImage) -> _Draft | InputError:
        try:
            if item.metadata is not None:
                check_metadata(item.metadata, self._max_metadata_bytes)
            sha256 = sha256_of(item.payload)
            id = check_id(item.id) if item.id is not None else content_id(sha256)
        except InputError as error:
            return error
        return _Draft(id, sha256, item.payload, item.metadata)

    async def _decide_early(
        self, shelf: Shelf, drafts: Sequence[_Draft | InputError], replace: bool
    ) -> dict[int, AddOutcome]:
        """Outcomes that need no decoding and no encoding: bad items, and images that are there already."""
        ids = [draft.id for draft in drafts if isinstance(draft, _Draft)]
        known = await self._records.find(shelf.name, ids)
        decided: dict[int, AddOutcome] = {}
        for i, draft in enumerate(drafts):
            if isinstance(draft, InputError):
                decided[i] = AddOutcome(i, None, "failed", draft)
            elif (early := _against(i, draft, known.get(draft.id), replace)) is not None:
                decided[i] = early
        return decided

    async def _prepare(self, drafts: Sequence[_Draft]) -> list[NewRow | DiptychError]:
        """Read each header and embed: N drafts -> N rows ready to be stored, or errors."""
        outcomes = await self._embedder.embed_images([draft.payload for draft in drafts])
        return await asyncio.gather(*map(self._row, drafts, outcomes))

    async def _row(self, draft: _Draft, outcome: Embedding | DiptychError) -> NewRow | DiptychError:
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
            removed, keys, embeddings = _index_change(rows, results)
            await shelf.change(removed, keys, embeddings)
        finally:
            await self.remove_unused(released)
        return results


def _against(i: int, draft: _Draft, record: ImageRecord | None, replace: bool) -> AddOutcome | None:
    """What is known before any work; None when there is work to do."""
    if record is None:
        return None
    same_metadata = draft.metadata is None or draft.metadata == record.metadata
    if record.sha256 == draft.sha256 and (same_metadata or not replace):
        return AddOutcome(i, draft.id, "unchanged")
    return None if replace else _conflict(i, draft.id)


def _acknowledged(i: int, row: NewRow, result: PutResult) -> AddOutcome:
    if result.status == "conflict":  # another add took the id while this one was being encoded
        return _conflict(i, row.id)
    return AddOutcome(i, row.id, result.status)


def _conflict(i: int, id: str) -> AddOutcome:
    message = f"id {id!r} is taken by an image with other bytes; replace=true would put this one in its place"
    return AddOutcome(i, id, "failed", Conflict(message))


def _index_change(
    rows: Sequence[NewRow], results: Sequence[PutResult]
) -> tuple[list[int], list[int], Embeddings]:
    """(keys to take out, keys to put in, their rows (N, D)); an id may have been replaced within one add."""
    removed: list[int] = []
    fresh: dict[int, Embedding] = {}
    for row, result in zip(rows, results, strict=True):
        if result.status == "created" or result.removed_key is not None:
            fresh[result.key] = row.embedding
        if result.removed_key is not None and fresh.pop(result.removed_key, None) is None:
            removed.append(result.removed_key)
    embeddings = np.stack(list(fresh.values())) if fresh else NO_ROWS
    return removed, list(fresh), embeddings
