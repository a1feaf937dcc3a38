"""Make the indexes of collections, and fill them from the store."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from diptych.core.collections.collection import Collection
from diptych.core.collections.ports import Records, VectorRows
from diptych.core.concurrency.shared import Shared
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.ports import VectorIndex
from diptych.core.serving.snapshot import Pair
from diptych.core.serving.version import Version

log = logging.getLogger(__name__)


async def all_missing(vectors: VectorRows, c: int, identity: str) -> dict[int, bool]:
    """The keys of all rows without an embedding of the identity, and whether their image is kept."""
    found: dict[int, bool] = {}
    while page := await vectors.missing(c, identity, after=max(found, default=0)):
        found |= page
    return found


class Indexes:
    """Makes indexes; each is closed once no snapshot has it and nobody uses it. Only inside a write."""

    def __init__(
        self, *, records: Records, new_index: Callable[[int], VectorIndex], read_only: bool = False
    ) -> None:
        """`new_index` makes an empty index of vectors of a width. `read_only`: record nothing."""
        self._records = records
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

    async def close(self) -> None:
        """Stop closing indexes in the background: the process ends."""
        self._closed = True
        await self._background.close()

    async def _fill(self, index: LiveIndex, collection: Collection) -> None:
        """Put the stored vectors of a collection into the index, and note which images have none."""
        began = time.monotonic()
        missing = await all_missing(self._records.vectors, collection.number, index.identity)
        index.unindexed = set(missing)
        index.without_image = {key for key, kept in missing.items() if not kept}
        async for page in self._records.vectors.since(collection.number, index.identity):
            if page.keys:
                await index.fill(page.keys, page.rows)
            index.unindexed.update(page.damaged)
            for key in page.damaged:
                log.warning("collection %s: the vector of row %d is damaged", collection.name, key)
        index.newest_key = max([index.newest_key, *index.unindexed])
        index.load_s = time.monotonic() - began

    def _close(self, index: LiveIndex) -> None:
        if not self._closed:
            self._background.start(index.vectors.close(), "closing an index")
