"""Make the indexes of collections, and fill them from the store."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import Records, VectorRows
from diptych.core.collections.upkeep.index_upkeep import index_name, index_title
from diptych.core.concurrency.shared import Shared
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.ports import Restored, VectorIndex
from diptych.core.serving.snapshot import Pair
from diptych.core.serving.version import Version
from diptych.core.types import NO_ROWS, Keys
from diptych.errors import StoreError

log = logging.getLogger(__name__)

# Removes the files of all indexes except those of these names. Blocking. Raises StoreError.
KeepFiles = Callable[[set[str]], object]


async def all_missing(vectors: VectorRows, c: int, identity: str) -> dict[int, bool]:
    """The keys of all rows without an embedding of the identity, and whether their image is kept."""
    found: dict[int, bool] = {}
    while page := await vectors.missing(c, identity, after=max(found, default=0)):
        found |= page
    return found


class Indexes:
    """Makes indexes; each is closed once no snapshot has it and nobody uses it. Only inside a write."""

    def __init__(
        self,
        *,
        records: Records,
        new_index: Callable[[int], VectorIndex],
        keep_files: KeepFiles = lambda names: None,
        read_only: bool = False,
    ) -> None:
        """`new_index` makes an empty index of vectors of a width. `read_only`: record nothing."""
        self._records = records
        self._keep_files = keep_files
        self._new_index = new_index
        self._read_only = read_only
        self._background = TaskSet()
        self._closed = False

    @asynccontextmanager
    async def pair(self, version: Shared[Version], collection: Collection | None) -> AsyncIterator[Pair]:
        """The stored vectors of a collection that `version` makes, None for a new one. Raises StoreError.

        A snapshot takes the pair over inside the block; else it is closed at the end of the block.
        """
        made_by = version.value
        if not self._read_only:
            await self._records.catalogue.record_source(made_by.identity, made_by.target)
        index = Shared(LiveIndex(made_by.identity, self._new_index(made_by.model.embed_dim)), self._close)
        try:
            if collection is not None:
                await self._fill(index.value, collection)
            yield Pair(version, index)
        finally:
            index.release()

    async def remove_unused(self, used: Iterable[tuple[int, str]]) -> None:
        """Remove the files of all other indexes than these: numbers of collections, each with an identity."""
        try:
            await asyncio.to_thread(self._keep_files, {index_name(*one) for one in used})
        except StoreError as error:
            log.warning("files of indexes that nothing uses cannot be removed: %s", error)

    async def close(self) -> None:
        """Stop closing indexes in the background: the process ends."""
        self._closed = True
        await self._background.close()

    async def _fill(self, index: LiveIndex, collection: Collection) -> None:
        """Put the stored vectors of a collection into the index, and note which images have none.

        What the index has read from its files is brought up to date.
        """
        began, c = time.monotonic(), collection.number
        last = await self._records.vectors.last_change(c)
        restored = await index.vectors.restore(
            index_name(c, index.identity), last, index_title(collection.name)
        )
        missing = await all_missing(self._records.vectors, c, index.identity)
        index.unindexed = set(missing)
        index.without_image = {key for key, kept in missing.items() if not kept}
        filled = list[int]()
        if restored.change < last:  # else no vector is newer, and finding that out reads all of them
            async for page in self._records.vectors.since(c, index.identity, restored.change):
                if page.keys:
                    await index.fill(page.keys, page.rows, replaced=len(restored.keys) > 0)
                    filled += page.keys
                self._note_damaged(index, collection, page.damaged)
        if len(restored.keys):
            await self._compare(index, collection, restored, filled)
        index.newest_key = max([index.newest_key, *index.unindexed])
        index.load_s = time.monotonic() - began

    async def _compare(
        self, index: LiveIndex, collection: Collection, restored: Restored, filled: Sequence[int]
    ) -> None:
        """Take out what is no longer stored, and put in what neither the files nor later changes had."""
        keys = await self._records.rows.keys(collection.number)
        gone, lacking = await asyncio.to_thread(_differences, keys, index.unindexed, restored.keys, filled)
        if gone:
            await index.vectors.apply(gone, (), NO_ROWS)
        index.newest_key = max([index.newest_key, *keys[-1:]])
        found = await self._records.vectors.of(lacking, index.identity) if lacking else {}
        if found:
            await index.fill(list(found), np.stack(list(found.values())))
        self._note_damaged(index, collection, [key for key in lacking if key not in found])

    def _note_damaged(self, index: LiveIndex, collection: Collection, keys: Sequence[int]) -> None:
        index.unindexed.update(keys)
        for key in keys:
            log.warning("collection %s: the vector of row %d is damaged", collection.name, key)

    def _close(self, index: LiveIndex) -> None:
        if not self._closed:
            self._background.start(index.vectors.close(forget=True), "closing an index")


def _differences(
    keys: Sequence[int], unindexed: set[int], restored: Keys, filled: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The restored keys that have no stored vector any more, and those stored that the index lacks."""
    stored = np.array(keys, np.int64)
    stored = stored[~np.isin(stored, np.array([*unindexed], np.int64))]
    there = np.concatenate([restored, np.array(filled, np.int64)])
    return restored[~np.isin(restored, stored)].tolist(), stored[~np.isin(stored, there)].tolist()
