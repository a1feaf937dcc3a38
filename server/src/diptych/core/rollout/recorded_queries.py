"""Record texts that collections are searched for, so that versions are compared on real queries.

Off unless an operator turns it on, since texts may be private. They are never logged.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from diptych.core.collections.collection import LoadedCollection
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.rollout.ports import QueryStore
from diptych.errors import DiptychError, NotFound

log = logging.getLogger(__name__)

MAX_KEPT = 1_000  # texts of one collection
MAX_CHARS = 500  # of a text; a longer one is not recorded
WRITE_EVERY_S = 5.0


class QueryRecorder:
    """Notes the distinct texts of searches, at no cost for the request, and writes them a little later.

    The newest texts of each collection are kept. What was noted in the last seconds is lost if the process is
    killed.
    """

    def __init__(self, store: QueryStore, *, enabled: bool, write_every_s: float = WRITE_EVERY_S) -> None:
        self._store = store
        self._enabled = enabled
        self._write_every_s = write_every_s
        self._noted: dict[LoadedCollection, dict[str, None]] = {}  # to be written, the newest last
        self._written: dict[LoadedCollection, dict[str, None]] = {}  # since the start
        self._background = TaskSet()

    async def open(self) -> None:
        """Begin to write; if recording is turned off, delete what was recorded. Raises StoreError."""
        if self._enabled:
            self._background.start(self._write_sometimes(), "recording queries")
        elif n_deleted := await self._store.forget_queries():
            log.info("recording of queries is off: %d recorded texts were deleted", n_deleted)

    async def close(self) -> None:
        """Write what was noted, and stop."""
        await self._background.close()
        if self._enabled:
            await self._write()

    def note(self, collection: LoadedCollection, texts: Sequence[str]) -> None:
        """Note texts that the collection was searched for, unless recording is off."""
        if not self._enabled:
            return
        noted = self._noted.setdefault(collection, {})
        for text in texts:
            if 0 < len(text) <= MAX_CHARS and text not in self._written.get(collection, {}):
                noted.pop(text, None)
                noted[text] = None
        _keep_newest(noted)

    async def texts(self, collection: LoadedCollection) -> list[str]:
        """The recorded texts, newest first; none if recording is off. Raises NotFound."""
        if not self._enabled:
            return []
        await self._write()
        return await collection.read(self._store.queries)

    async def _write_sometimes(self) -> None:
        while True:
            await asyncio.sleep(self._write_every_s)
            await self._write()

    async def _write(self) -> None:
        noted, self._noted = self._noted, {}
        for collection, texts in noted.items():
            if texts:
                await self._write_of(collection, list(texts))
        for collection in [one for one in self._written if one.dropped]:
            del self._written[collection]

    async def _write_of(self, collection: LoadedCollection, texts: Sequence[str]) -> None:
        try:
            with suppress(NotFound):  # dropped meanwhile
                await collection.read(lambda name: self._store.add_queries(name, texts, MAX_KEPT))
        except DiptychError as error:  # as on a full disk; comparisons do without
            log.warning("queries cannot be recorded: %s", error)
            return
        written = self._written.setdefault(collection, {})
        written.update(dict.fromkeys(texts))
        _keep_newest(written)


def _keep_newest(texts: dict[str, None]) -> None:
    while len(texts) > MAX_KEPT:
        del texts[next(iter(texts))]
