"""Keep indexes fitting their rows, tuned and on disk, in the background."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np

from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import Records
from diptych.core.collections.upkeep.index_texts import texts_of
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.embedder import Embedder
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.types import Embeddings
from diptych.errors import DiptychError, EncoderFailed, NotFound, NotReady, Overloaded

log = logging.getLogger(__name__)

TEXTS_AT_ONCE = 16  # few, so that requests are delayed little
RETRY_S = 60.0  # after it failed


def index_name(c: int, identity: str) -> str:
    """The name of the files of the index of a collection by an identity."""
    return f"{c}_{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def index_title(collection: str) -> str:
    """What the log calls the index of a collection."""
    return f"the index of collection {collection}"


class IndexUpkeep:
    """Trains, tunes and saves the indexes of all snapshots, one after the other."""

    def __init__(
        self,
        *,
        serving: Serving,
        records: Records,
        write_queue: SerialWriteQueue,
        catch_up: Callable[[], Awaitable[None]],
        poll_s: float,
    ) -> None:
        """`catch_up`, inside a write, lets indexes know what other servers have written."""
        self._catch_up = catch_up
        self._serving = serving
        self._records = records
        self._write_queue = write_queue
        self._poll_s = poll_s
        self._turn = asyncio.Lock()
        self._retry_at: dict[str, float] = {}  # by the name of what failed

    async def run(self, collections: Callable[[], Iterable[Collection]]) -> None:
        """Look at all indexes again and again."""
        while True:
            await asyncio.sleep(self._poll_s)
            for collection in list(collections()):
                for pair in self._serving.pairs(collection.number):
                    with suppress(NotReady):  # the server stops
                        await self.tend(collection, pair)

    async def tend(self, collection: Collection, pair: Pair) -> None:
        """Train the index if its rows have changed much, and save it if it has changed much since.

        If that fails, the index goes on as it is, and it is tried again later. It ends early once no snapshot
        has the pair any more. Raises NotReady.
        """
        vectors, name = pair.index.vectors, index_name(collection.number, pair.identity)
        if not (vectors.needs_training or vectors.needs_saving):
            return
        if time.monotonic() < self._retry_at.get(name, 0.0):
            return
        async with self._turn:
            try:
                await self._tend(collection, pair, name)
            except NotReady:
                if self._serving.holds(collection.number, pair):
                    raise
            except NotFound:
                return  # the collection was dropped
            except Exception as error:  # of FAISS, too, such as without memory
                log.warning(
                    "%s cannot be made or saved now, it is tried again: %s",
                    *(
                        index_title(collection.name),
                        error if isinstance(error, DiptychError) else repr(error),
                    ),
                )
                self._retry_at[name] = time.monotonic() + RETRY_S
            else:
                self._retry_at.pop(name, None)

    async def _tend(self, collection: Collection, pair: Pair, name: str) -> None:
        if not self._serving.holds(collection.number, pair):
            return
        vectors = pair.index.vectors
        if vectors.needs_training:
            with pair.use():
                texts = await texts_of(self._records.rows, collection.number)
                embedder = pair.version.embedder
                queries = {group: await _embedded(embedder, few) for group, few in texts.items()}
            # Not in use, so that it is closed, and training ends, once no snapshot has it.
            await vectors.train(name, queries, index_title(collection.name))
            collection.report_metrics()
        if vectors.needs_saving:
            await vectors.save(name, await self._write_queue.run(self._change_of(collection.number)))

    async def _change_of(self, c: int) -> int:
        """A change up to which the index has all. Inside a write these are all but those of other servers."""
        change = await self._records.vectors.last_change(c)
        await self._catch_up()
        return change


async def _embedded(embedder: Embedder, texts: Sequence[str]) -> Embeddings:
    """Embed texts -> (N, D), giving way to requests. Texts that fail are left out."""
    rows, start = list[Embeddings](), 0
    while start < len(texts):
        try:
            outcomes = await embedder.embed_texts(texts[start : start + TEXTS_AT_ONCE])
        except Overloaded as error:
            await asyncio.sleep(error.retry_after_s)
            continue
        for outcome in outcomes:
            if isinstance(outcome, NotReady):
                raise outcome
            if not isinstance(outcome, DiptychError):
                rows.append(outcome.embedding)
        start += TEXTS_AT_ONCE
    if not rows:
        raise EncoderFailed("no text can be embedded")
    return np.stack(rows)
