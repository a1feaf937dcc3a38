"""Add ready-made vectors to a collection."""

import asyncio
from collections.abc import Sequence

import numpy as np

from diptych.core.collections.commit import RowCommitter
from diptych.core.collections.group_commit import GroupCommit
from diptych.core.collections.resolve import ResolvedItem, resolve_item, stored_outcome
from diptych.core.collections.stored.collection import Collection
from diptych.core.encoding.vector_checks import check_vector
from diptych.core.types import AddOutcome, ModelInfo, NewImage, NewRow, NewVector
from diptych.errors import InputError, InvalidValue

FLOAT = np.dtype("<f4")
MEDIA_TYPE = "application/octet-stream"  # stored in place of an image's media type


class VectorIngest:
    """From vectors to acknowledged rows. Vectors are stored bit for bit.

    A row without an image cannot be embedded again: its collection stays on the version that made it.
    """

    def __init__(
        self, *, committer: RowCommitter, group_commit: GroupCommit, max_metadata_bytes: int
    ) -> None:
        self._committer = committer
        self._group_commit = group_commit
        self._max_metadata_bytes = max_metadata_bytes

    async def add(
        self, collection: Collection, model: ModelInfo, items: Sequence[NewVector], *, replace: bool
    ) -> list[AddOutcome]:
        """Add N vectors made by `model` and return N outcomes in order; a bad one fails alone. Raises as
        Ingest.add.
        """
        resolved = await asyncio.to_thread(self._resolve_all, items, model.embed_dim)  # N items or errors
        early = await self._committer.early_outcomes(collection, resolved, replace)
        to_add = {
            i: item for i, item in enumerate(resolved) if isinstance(item, ResolvedItem) and i not in early
        }
        rows = [_row(item, model.identity) for item in to_add.values()]
        stored = await self._group_commit.store(collection, rows, replace=replace)
        early |= {
            i: stored_outcome(i, row, result) for i, row, result in zip(to_add, rows, stored, strict=True)
        }
        return [early[i] for i in range(len(items))]

    def _resolve_all(self, items: Sequence[NewVector], embed_dim: int) -> list[ResolvedItem | InputError]:
        return [self._resolve(item, embed_dim) for item in items]

    def _resolve(self, item: NewVector, embed_dim: int) -> ResolvedItem | InputError:
        try:
            check_vector(item.vector, embed_dim)
        except InvalidValue as error:
            return error.named("embedding")
        payload = np.ascontiguousarray(item.vector, FLOAT).tobytes()
        return resolve_item(NewImage(payload, item.id, item.metadata), self._max_metadata_bytes)


def _row(item: ResolvedItem, identity: str) -> NewRow:
    return NewRow(
        id=item.id,
        sha256=item.sha256,
        n_bytes=len(item.payload),
        media_type=MEDIA_TYPE,
        width=0,
        height=0,
        metadata=item.metadata,
        embedding=np.frombuffer(item.payload, FLOAT),
        kept=False,
        identity=identity,
    )
