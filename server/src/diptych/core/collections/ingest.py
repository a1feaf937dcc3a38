"""Add images to a collection, durably and only once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace as changed

from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.metadata.exif import exif_fields
from diptych.core.collections.resolve import ResolvedItem, resolve_item, stored_outcome, unchanged_payloads
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.duplicates import picture_hash
from diptych.core.collections.stored.file_references import Claim, FileReferences
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.job import JobNote
from diptych.core.serving.version import Version
from diptych.core.types import (
    AddOutcome,
    DecodedImage,
    Embedding,
    ExifLevel,
    NewImage,
    NewRow,
    PutResult,
)
from diptych.errors import DiptychError, InputError


class Ingest:
    """From image files to acknowledged rows.

    An acknowledged image has its row on disk, and its file too where the collection keeps files, and is
    searchable. A file that stays in a library is only referred to. Files are written while the images are
    encoded, so that disk and encoder do not wait for each other.
    """

    def __init__(
        self,
        *,
        follow: Callable[[Collection, Sequence[int]], Awaitable[None]],
        files: FileReferences,
        committer: RowCommitter,
        group_commit: GroupCommit,
        write_queue: SerialWriteQueue,
        max_metadata_bytes: int,
        exif: ExifLevel,
    ) -> None:
        """`follow` is called with the keys of stored images before they are acknowledged. `exif`: what is
        stored of the EXIF of files.
        """
        self._follow = follow
        self._files = files
        self._committer = committer
        self._group_commit = group_commit
        self._write_queue = write_queue
        self._max_metadata_bytes = max_metadata_bytes
        self._exif: ExifLevel = exif

    async def add(
        self,
        collection: Collection,
        version: Version,
        items: Sequence[NewImage],
        *,
        replace: bool,
        notes: Sequence[JobNote] = (),
    ) -> list[AddOutcome]:
        """Add N items and return N outcomes in their order, with vectors made by `version`.

        A bad item fails alone. `notes`, whose rows are items, are stored in the commit of the rows. Raises
        for the whole add: NotFound when the collection was dropped meanwhile, PairChanged, Overloaded,
        NotReady, StoreError. Nothing is acknowledged then; adding the same again is safe.
        """
        resolved = await asyncio.to_thread(self._resolve_all, items)  # N items or errors
        early = await self._committer.early_outcomes(collection, resolved, replace)  # what needs no work
        if there := unchanged_payloads(resolved, early):
            await self._write_queue.run(self._files.repair(there))
        to_add = {
            i: item for i, item in enumerate(resolved) if isinstance(item, ResolvedItem) and i not in early
        }
        async with self._files.claim() as claim:
            prepared = await self._prepare(
                collection, version, list(to_add.values()), claim
            )  # row or error each
            good = [(i, row) for i, row in zip(to_add, prepared, strict=True) if isinstance(row, NewRow)]
            rows = [row for _, row in good]
            early |= {
                i: AddOutcome(i, to_add[i].id, "failed", error)
                for i, error in zip(to_add, prepared, strict=True)
                if isinstance(error, DiptychError)
            }

            def outcomes(stored: Sequence[PutResult]) -> list[AddOutcome]:
                done = {
                    i: stored_outcome(i, row, result) for (i, row), result in zip(good, stored, strict=True)
                }
                return [done[i] if i in done else early[i] for i in range(len(items))]

            await claim.written()
            stored = await self._group_commit.store(
                collection,
                rows,
                replace=replace,
                notes=_of_rows(notes, early, [i for i, _ in good]),
            )
            claim.mark_used(
                row.sha256 for row, result in zip(rows, stored, strict=True) if _is_new(row, result)
            )
        await self._follow(collection, [one.key for one in stored if one.status != "conflict"])
        return outcomes(stored)

    def _resolve_all(self, items: Sequence[NewImage]) -> list[ResolvedItem | InputError]:
        return [resolve_item(one, self._max_metadata_bytes) for one in items]

    async def _prepare(
        self,
        collection: Collection,
        version: Version,
        resolved: Sequence[ResolvedItem],
        claim: Claim,
    ) -> list[NewRow | DiptychError]:
        """Turn N items into N rows ready to be stored, or errors. Starts writing the files of decodable
        images.
        """
        kept = collection.keep != "none"
        decoded: list[DecodedImage | None] = []

        def on_decoded(found: Sequence[DecodedImage | None]) -> None:
            decoded.extend(found)
            if kept:
                good = [item for item, image in zip(resolved, found, strict=True) if image is not None]
                claim.begin({item.sha256: item.payload for item in good if not item.referenced})

        outcomes = await version.embedder.embed_images([item.payload for item in resolved], on_decoded)
        return await asyncio.to_thread(
            lambda: [
                outcome
                if isinstance(outcome, DiptychError)
                else self._row(item, image, outcome, kept=kept, identity=version.identity)
                for item, image, outcome in zip(resolved, decoded, outcomes, strict=True)
            ]
        )

    def _row(
        self,
        item: ResolvedItem,
        image: DecodedImage | None,
        embedding: Embedding,
        *,
        kept: bool,
        identity: str,
    ) -> NewRow:
        """The row of an image. Hashing its pixels takes about a millisecond."""
        assert image is not None, "what has an embedding was decoded"
        info = image.info
        return NewRow(
            id=item.id,
            sha256=item.sha256,
            n_bytes=len(item.payload),
            media_type=info.media_type,
            width=info.width,
            height=info.height,
            metadata=item.metadata,
            embedding=embedding,
            kept=kept,
            identity=identity,
            picture_hash=picture_hash(image.pixels),
            exif=exif_fields(info.exif, self._exif),
            referenced=item.referenced,
        )


def _of_rows(
    notes: Sequence[JobNote], early: Mapping[int, AddOutcome], items: Sequence[int]
) -> list[JobNote]:
    """Notes about items, as notes about the rows of these `items`, or with their early outcomes."""
    rows = {item: row for row, item in enumerate(items)}

    def of_row(note: JobNote) -> JobNote:
        if note.row is None:
            return note
        return changed(note, row=rows.get(note.row), outcome=early.get(note.row))

    return [of_row(note) for note in notes]


def _is_new(row: NewRow, result: PutResult) -> bool:
    """Whether this row was stored and needs its file, rather than one that existed before."""
    return row.kept and (result.status == "created" or result.removed_key is not None)
