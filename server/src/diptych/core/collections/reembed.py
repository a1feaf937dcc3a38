"""Embed kept images again for the served identity, in the background."""

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

PAGE = 8  # images at a time; few, so that requests find room in the queue
LOG_EVERY = 256


class Reembedder:
    """Embeds the images of a collection whose rows were made by another identity than its pipeline's.

    It ends early when the collection is dropped or has another index, which another run fills. After a kill
    it continues at the next start. An image that cannot be embedded (its file is lost, or a limit was
    lowered) is logged and left out of the index.
    """

    def __init__(
        self,
        *,
        pipelines: PipelinePool,
        images: ImageStore,
        records: RecordStore,
        write_queue: SerialWriteQueue,
    ) -> None:
        self._pipelines = pipelines
        self._images = images
        self._records = records
        self._write_queue = write_queue

    async def run(self, collection: LoadedCollection, pipeline: EncoderPipeline, index: VectorIndex) -> None:
        """Try every image that `index` lacks, then make the collection ready. Raises NotReady when the server
        stops.

        Other exceptions are raised, too, and the collection is marked as failed: it must not seem at work for
        ever.
        """
        try:
            with self._pipelines.hold(pipeline):
                await self._embed_all(collection, pipeline, index)
        except NotReady:
            raise
        except Exception as error:
            if collection.has_index(index):
                collection.fail(str(error) if isinstance(error, DiptychError) else type(error).__name__)
            raise

    async def _embed_all(
        self, collection: LoadedCollection, pipeline: EncoderPipeline, index: VectorIndex
    ) -> None:
        to_embed = sorted(collection.unindexed - collection.without_image)
        log.info(
            "collection %s: %d of %d images to embed", collection.name, len(to_embed), collection.n_images
        )
        page = min(PAGE, pipeline.embedder.max_images)
        for start in range(0, len(to_embed), page):
            if not collection.has_index(index):
                break
            await self._page(collection, pipeline, index, to_embed[start : start + page])
            if start % LOG_EVERY < page:
                log.info("collection %s: %d images to go", collection.name, len(to_embed) - start)
        if not collection.has_index(index):
            log.info("collection %s: dropped, or has another precision now", collection.name)
            return
        collection.finish_embedding()
        log.info(
            "collection %s: done, %d images could not be embedded", collection.name, len(collection.unindexed)
        )

    async def _page(
        self, collection: LoadedCollection, pipeline: EncoderPipeline, index: VectorIndex, keys: Sequence[int]
    ) -> None:
        records = await self._records.by_key(keys)  # without images that were deleted meanwhile
        outcomes = await self._embed(pipeline, [record.sha256 for record in records.values()])
        rows: dict[int, Embedding] = {}
        for key, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, NotReady):
                raise outcome
            if isinstance(outcome, DiptychError):
                # logged by row: an id may be a file name, and a sha256 identifies the image
                why = logged_of(outcome)
                log.warning(
                    "collection %s: the image of row %d cannot be embedded: %s", collection.name, key, why
                )
            else:
                rows[key] = outcome
        if rows:
            await self._write_queue.run(self._write(collection, pipeline, index, rows))

    async def _embed(self, pipeline: EncoderPipeline, sha256s: Sequence[str]) -> list[Outcome]:
        originals = [await self._original(sha256) for sha256 in sha256s]
        payloads = [original for original in originals if isinstance(original, bytes)]
        rows = iter(await self._embed_patiently(pipeline, payloads))
        return [next(rows) if isinstance(original, bytes) else original for original in originals]

    async def _original(self, sha256: str) -> bytes | CorruptStore:
        try:
            return await self._images.get(sha256)
        except CorruptStore as error:
            return error

    async def _embed_patiently(self, pipeline: EncoderPipeline, payloads: Sequence[bytes]) -> list[Outcome]:
        """Embed while giving way to requests: wait while the queue is full; items that never fit at once go
        one by one.
        """
        while True:
            try:
                return await pipeline.embedder.embed_images(payloads)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                if len(payloads) == 1:
                    return [error]
                return [(await self._embed_patiently(pipeline, [one]))[0] for one in payloads]

    async def _write(
        self,
        collection: LoadedCollection,
        pipeline: EncoderPipeline,
        index: VectorIndex,
        rows: dict[int, Embedding],
    ) -> None:
        """Store and index the rows, except images that were deleted or added again meanwhile."""
        if not collection.has_index(index):
            return
        rows = {key: row for key, row in rows.items() if key in collection.unindexed}
        if not rows:
            return
        embeddings, identity = np.stack(list(rows.values())), pipeline.model.identity
        kept = await self._records.put_embeddings(list(rows), embeddings, identity)
        if kept:
            await collection.fill(kept, np.stack([rows[key] for key in kept]))
