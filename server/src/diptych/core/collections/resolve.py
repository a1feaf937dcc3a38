"""Decide the outcome of each item of an add, from what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diptych.core.collections.metadata.reserved import check_given, lacks_given, same_metadata
from diptych.core.collections.stored.ids import check_id, content_id, sha256_of
from diptych.core.job import JobNote
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
from diptych.errors import Conflict, InputError


@dataclass(frozen=True)
class ResolvedItem:
    """An item whose id and metadata are fit to be stored."""

    id: str
    sha256: str
    payload: bytes
    metadata: Metadata | None
    referenced: bool = False


def resolve_item(image: NewImage, max_metadata_bytes: int) -> ResolvedItem | InputError:
    """Return the item with its id, derived from its bytes if need be; or its error, naming `metadata` or
    `id`.
    """
    id, metadata = image.id, image.metadata
    try:
        if metadata is not None:
            metadata = check_given(metadata, max_metadata_bytes)
    except InputError as error:
        return error.named("metadata")
    sha256 = sha256_of(image.payload)
    try:
        id = check_id(id) if id is not None else content_id(sha256)
        return ResolvedItem(id, sha256, image.payload, metadata, image.referenced)
    except InputError as error:
        return error.named("id")


def unchanged_payloads(
    resolved: Sequence[ResolvedItem | InputError], early: Mapping[int, AddOutcome]
) -> dict[str, bytes]:
    """sha256 -> bytes of the items that are stored already, but for those whose files stay in a library."""
    return {
        item.sha256: item.payload
        for i, item in enumerate(resolved)
        if isinstance(item, ResolvedItem)
        and not item.referenced
        and i in early
        and early[i].status == "unchanged"
    }


def early_outcome(i: int, item: ResolvedItem, record: ImageRecord | None, replace: bool) -> AddOutcome | None:
    """The outcome that is known before any work; None if there is work to do."""
    if record is None:
        return None
    if record.referenced and not item.referenced and record.sha256 == item.sha256:
        return None  # the file is to be kept
    keeps_metadata = not replace or item.metadata is None or same_metadata(item.metadata, record.metadata)
    if record.sha256 == item.sha256 and keeps_metadata:
        differs = lacks_given(item.metadata, record.metadata)
        return AddOutcome(i, item.id, "unchanged", metadata_differs=differs)
    return None if replace else _conflict(i, item.id)


def stored_outcome(i: int, row: NewRow, result: PutResult) -> AddOutcome:
    """The outcome of item `i`, from the result of the store."""
    if result.status == "conflict":  # another add took the id during encoding
        return _conflict(i, row.id)
    return AddOutcome(i, row.id, result.status, metadata_differs=result.metadata_differs)


def outcome_of(note: JobNote, rows: Sequence[NewRow], results: Sequence[PutResult]) -> AddOutcome:
    """The outcome of the item of a job, from what came of storing N rows."""
    if note.outcome is not None:
        return note.outcome
    assert note.row is not None, "it has the one or the other"
    return stored_outcome(note.item, rows[note.row], results[note.row])


def index_change(
    rows: Sequence[NewRow], results: Sequence[PutResult]
) -> tuple[list[int], list[int], Embeddings]:
    """Return (keys to remove, keys to add, their rows (N, D)); an add may replace its own ids."""
    removed: list[int] = []
    fresh: dict[int, Embedding] = {}
    for row, result in zip(rows, results, strict=True):
        if result.status == "created" or result.removed_key is not None:
            fresh[result.key] = row.embedding
        if result.removed_key is not None and fresh.pop(result.removed_key, None) is None:
            removed.append(result.removed_key)
    embeddings = np.stack(list(fresh.values())) if fresh else NO_ROWS
    return removed, list(fresh), embeddings


def _conflict(i: int, id: str) -> AddOutcome:
    message = f"id {id!r} is taken by an image with other bytes; replace=true would put this one in its place"
    return AddOutcome(i, id, "failed", Conflict(message))
