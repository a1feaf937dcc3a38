"""Add images to a collection, durably and only once; knows nothing of HTTP, SQL or what runs the model."""

import asyncio
from collections.abc import Sequence

from diptych.core.drafts import Draft, acknowledged, draft_of, unchanged
from diptych.core.embedder import Embedder
from diptych.core.grouped import GroupedStores
from diptych.core.ports import Decoder
from diptych.core.shelf import Shelf
from diptych.core.storing import Storing
from diptych.core.types import AddOutcome, Embedding, NewImage, NewRow
from diptych.core.writes import Writes
from diptych.errors import DiptychError, InputError


class Ingest:
    """The line from image files to acknowledged rows.

    An acknowledged image has its row on the disk, its file too where the collection keeps them, and is
    searchable.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        decoder: Decoder,
        storing: Storing,
        grouped: GroupedStores,
        writes: Writes,
        max_metadata_bytes: int,
    ) -> None:
        self._embedder = embedder
        self._decoder = decoder
        self._storing = storing
        self._grouped = grouped
        self._writes = writes
        self._max_metadata_bytes = max_metadata_bytes

    async def add(self, shelf: Shelf, items: Sequence[NewImage], *, replace: bool) -> list[AddOutcome]:
        """N items -> N outcomes in their order; a bad item fails alone.

        Raises for all of them: NotFound when the collection was dropped meanwhile, Overloaded, NotReady,
        StoreError. Nothing is acknowledged then; adding the same again is safe.
        """
        drafts = await asyncio.to_thread(self._draft_all, items)  # N of draft or error
        decided = await self._storing.decided(shelf, drafts, replace)  # what needs no work
        if there := unchanged(drafts, decided):
            await self._writes.run(self._storing.mend_files(there))
        todo = {i: draft for i, draft in enumerate(drafts) if isinstance(draft, Draft) and i not in decided}
        prepared = await self._prepare(shelf, list(todo.values()))  # row or error each
        good = [(i, row) for i, row in zip(todo, prepared, strict=True) if isinstance(row, NewRow)]
        payloads = {row.sha256: items[i].payload for i, row in good if row.kept}
        rows = [row for _, row in good]
        stored = await self._grouped.store(shelf, rows, payloads, replace=replace)
        decided |= {
            i: AddOutcome(i, todo[i].id, "failed", error)
            for i, error in zip(todo, prepared, strict=True)
            if isinstance(error, DiptychError)
        }
        decided |= {i: acknowledged(i, row, result) for (i, row), result in zip(good, stored, strict=True)}
        return [decided[i] for i in range(len(items))]

    def _draft_all(self, items: Sequence[NewImage]) -> list[Draft | InputError]:
        return [draft_of(one.payload, one.id, one.metadata, self._max_metadata_bytes) for one in items]

    async def _prepare(self, shelf: Shelf, drafts: Sequence[Draft]) -> list[NewRow | DiptychError]:
        """Read each header and embed: N drafts -> N rows ready to be stored, or errors."""
        outcomes = await self._embedder.embed_images([draft.payload for draft in drafts])
        kept = shelf.keep == "original"
        return await asyncio.gather(
            *(self._row(one, outcome, kept) for one, outcome in zip(drafts, outcomes, strict=True))
        )

    async def _row(
        self, draft: Draft, outcome: Embedding | DiptychError, kept: bool
    ) -> NewRow | DiptychError:
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
            kept=kept,
        )
