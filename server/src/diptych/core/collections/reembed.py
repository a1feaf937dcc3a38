"""Embed kept images again for the served identity, in the background; knows nothing of HTTP, SQL or files."""

import asyncio
import logging
from collections.abc import Sequence

import numpy as np

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.ports import ImageStore, RecordStore, VectorIndex
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.types import Embedding, Outcome
from diptych.errors import CorruptStore, DiptychError, NotReady, Overloaded, TooLarge, logged_of

log = logging.getLogger(__name__)

PAGE = 8  # images at a time: few enough that requests find room in the queue beside them
LOG_EVERY = 256


class Reembedder:
    """Brings a collection whose rows were embedded by another identity to that of its engine.

    It ends early when the collection is dropped or has another index, which is another run's work. Killed
    at any point, it goes on at the next start. An image that cannot be embedded (its file is lost, or a limit
    was lowered) is reported in the log and left out of the index.
    """

    def __init__(
        self, *, engines: PipelinePool, images: ImageStore, records: RecordStore, writes: SerialWriteQueue
    ) -> None:
        self._engines = engines
        self._images = images
        self._records = records
        self._writes = writes

    async def run(self, shelf: LoadedCollection, engine: EncoderPipeline, index: VectorIndex) -> None:
        """Try every image that `index` lacks, then make the shelf ready. Raises NotReady at the stop.

        Whatever else ends it is raised too, and the shelf says so: it must not seem at work for ever.
        """
        try:
            with self._engines.hold(engine):
                await self._embed_all(shelf, engine, index)
        except NotReady:
            raise
        except Exception as error:
            if shelf.holds(index):
                shelf.fail(str(error) if isinstance(error, DiptychError) else type(error).__name__)
            raise

    async def _embed_all(self, shelf: LoadedCollection, engine: EncoderPipeline, index: VectorIndex) -> None:
        todo = sorted(shelf.pending - shelf.stranded)
        log.info("collection %s: %d of %d images to embed", shelf.name, len(todo), shelf.n_images)
        page = min(PAGE, engine.embedder.max_images)
        for start in range(0, len(todo), page):
            if not shelf.holds(index):
                break
            await self._page(shelf, engine, index, todo[start : start + page])
            if start % LOG_EVERY < page:
                log.info("collection %s: %d images to go", shelf.name, len(todo) - start)
        if not shelf.holds(index):
            log.info("collection %s: dropped, or of another precision now", shelf.name)
            return
        shelf.settle()
        log.info("collection %s: done, %d images could not be embedded", shelf.name, len(shelf.pending))

    async def _page(
        self, shelf: LoadedCollection, engine: EncoderPipeline, index: VectorIndex, keys: Sequence[int]
    ) -> None:
        records = await self._records.by_key(keys)  # without those that were deleted meanwhile
        outcomes = await self._embed(engine, [record.sha256 for record in records.values()])
        rows: dict[int, Embedding] = {}
        for key, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, NotReady):
                raise outcome
            if isinstance(outcome, DiptychError):
                # by its row: an id may be a file's name, and whoever has its sha256 can tell the image
                why = logged_of(outcome)
                log.warning("collection %s: the image of row %d cannot be embedded: %s", shelf.name, key, why)
            else:
                rows[key] = outcome
        if rows:
            await self._writes.run(self._write(shelf, engine, index, rows))

    async def _embed(self, engine: EncoderPipeline, sha256s: Sequence[str]) -> list[Outcome]:
        originals = [await self._original(sha256) for sha256 in sha256s]
        payloads = [original for original in originals if isinstance(original, bytes)]
        rows = iter(await self._embed_patiently(engine, payloads))
        return [next(rows) if isinstance(original, bytes) else original for original in originals]

    async def _original(self, sha256: str) -> bytes | CorruptStore:
        try:
            return await self._images.get(sha256)
        except CorruptStore as error:
            return error

    async def _embed_patiently(self, engine: EncoderPipeline, payloads: Sequence[bytes]) -> list[Outcome]:
        """Requests come first: while the queue is full, wait. What can never fit at once goes one by one."""
        while True:
            try:
                return await engine.embedder.embed_images(payloads)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                if len(payloads) == 1:
                    return [error]
                return [(await self._embed_patiently(engine, [one]))[0] for one in payloads]

    async def _write(
        self, shelf: LoadedCollection, engine: EncoderPipeline, index: VectorIndex, rows: dict[int, Embedding]
    ) -> None:
        """Images that were deleted, or added again, while they were encoded are left out."""
        if not shelf.holds(index):
            return
        rows = {key: row for key, row in rows.items() if key in shelf.pending}
        if not rows:
            return
        embeddings, identity = np.stack(list(rows.values())), engine.model.identity
        kept = await self._records.put_embeddings(list(rows), embeddings, identity)
        if kept:
            await shelf.fill(kept, np.stack([rows[key] for key in kept]))
