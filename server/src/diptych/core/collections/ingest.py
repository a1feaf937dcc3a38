"""Add images to a collection, durably and only once; knows nothing of HTTP, SQL or what runs the model."""

import asyncio
from collections.abc import Callable, Sequence

from diptych.bundle.image.preprocess import ImageInfo
from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.file_references import Claim, FileReferences
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.resolve import ResolvedItem, acknowledged, draft_of, unchanged
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.job import News
from diptych.core.types import AddOutcome, Embedding, NewImage, NewRow, PutResult
from diptych.errors import DiptychError, InputError


class Ingest:
    """The line from image files to acknowledged rows.

    An acknowledged image has its row on the disk, its file too where the collection keeps them, and is
    searchable. Files are written while the images are encoded: the disk and the encoder need not wait for
    each other.
    """

    def __init__(
        self,
        *,
        files: FileReferences,
        storing: RowCommitter,
        grouped: GroupCommit,
        writes: SerialWriteQueue,
        max_metadata_bytes: int,
    ) -> None:
        self._files = files
        self._storing = storing
        self._grouped = grouped
        self._writes = writes
        self._max_metadata_bytes = max_metadata_bytes

    async def add(
        self,
        shelf: LoadedCollection,
        engine: EncoderPipeline,
        items: Sequence[NewImage],
        *,
        replace: bool,
        news: Callable[[Sequence[AddOutcome]], News] | None = None,
    ) -> list[AddOutcome]:
        """N items -> N outcomes in their order, with vectors by `engine`; a bad item fails alone. The `news`
        of them is stored with the rows.

        Raises for all of them: NotFound when the collection was dropped meanwhile, EngineChanged, Overloaded,
        NotReady, StoreError. Nothing is acknowledged then; adding the same again is safe.
        """
        drafts = await asyncio.to_thread(self._draft_all, items)  # N of draft or error
        decided = await self._storing.decided(shelf, drafts, replace)  # what needs no work
        if there := unchanged(drafts, decided):
            await self._writes.run(self._files.mend(there))
        todo = {
            i: draft for i, draft in enumerate(drafts) if isinstance(draft, ResolvedItem) and i not in decided
        }
        async with self._files.claim() as claim:
            prepared = await self._prepare(shelf, engine, list(todo.values()), claim)  # row or error each
            good = [(i, row) for i, row in zip(todo, prepared, strict=True) if isinstance(row, NewRow)]
            rows = [row for _, row in good]
            decided |= {
                i: AddOutcome(i, todo[i].id, "failed", error)
                for i, error in zip(todo, prepared, strict=True)
                if isinstance(error, DiptychError)
            }

            def outcomes(stored: Sequence[PutResult]) -> list[AddOutcome]:
                done = {
                    i: acknowledged(i, row, result) for (i, row), result in zip(good, stored, strict=True)
                }
                return [done[i] if i in done else decided[i] for i in range(len(items))]

            await claim.written()
            stored = await self._grouped.store(
                shelf, rows, replace=replace, news=news and (lambda stored: news(outcomes(stored)))
            )
            claim.used(row.sha256 for row, result in zip(rows, stored, strict=True) if _is_new(row, result))
        return outcomes(stored)

    def _draft_all(self, items: Sequence[NewImage]) -> list[ResolvedItem | InputError]:
        return [draft_of(one.payload, one.id, one.metadata, self._max_metadata_bytes) for one in items]

    async def _prepare(
        self, shelf: LoadedCollection, engine: EncoderPipeline, drafts: Sequence[ResolvedItem], claim: Claim
    ) -> list[NewRow | DiptychError]:
        """N drafts -> N rows ready to be stored, or errors. The files of what can be decoded are begun."""
        kept = shelf.keep == "original"
        infos: list[ImageInfo | None] = []

        def on_decoded(found: Sequence[ImageInfo | None]) -> None:
            infos.extend(found)
            if kept:
                good = [draft for draft, info in zip(drafts, found, strict=True) if info is not None]
                claim.begin({draft.sha256: draft.payload for draft in good})

        made_by = engine.model.identity
        outcomes = await engine.embedder.embed_images([draft.payload for draft in drafts], on_decoded)
        return [
            outcome if isinstance(outcome, DiptychError) else _row(draft, info, outcome, kept, made_by)
            for draft, info, outcome in zip(drafts, infos, outcomes, strict=True)
        ]


def _row(
    draft: ResolvedItem, info: ImageInfo | None, embedding: Embedding, kept: bool, made_by: str
) -> NewRow:
    assert info is not None, "what has an embedding was decoded"
    return NewRow(
        id=draft.id,
        sha256=draft.sha256,
        n_bytes=len(draft.payload),
        media_type=info.media_type,
        width=info.width,
        height=info.height,
        metadata=draft.metadata,
        embedding=embedding,
        kept=kept,
        made_by=made_by,
    )


def _is_new(row: NewRow, result: PutResult) -> bool:
    """Whether this very row was stored, which needs its file; not one that was there before."""
    return row.kept and (result.status == "created" or result.removed_key is not None)
