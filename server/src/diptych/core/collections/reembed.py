"""Embed kept images for an identity that lacks their vectors."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from diptych.core.collections.collection import LoadedCollection
from diptych.core.collections.indexed_vectors import IndexedVectors, IndexOpener
from diptych.core.collections.ports import ImageStore, RecordStore
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import Embedding, Outcome
from diptych.errors import CorruptStore, DiptychError, NotReady, Overloaded, TooLarge, logged_of

log = logging.getLogger(__name__)

PAGE = 8  # images at a time; few, so that requests are delayed little
LOG_EVERY = 256


class Pace(Protocol):
    """Gives way to requests."""

    async def pause(self, worked_s: float, encoded_s: float) -> None:
        """Wait after seconds of work, `encoded_s` of them in encoders, as long as requests come first."""
        ...


class NoPause:
    """Works without pauses."""

    async def pause(self, worked_s: float, encoded_s: float) -> None:
        """Let other tasks run once."""
        await asyncio.sleep(0)


class Reembedder:
    """Embeds the pending images of a collection's vectors.

    An image that cannot be embedded (its file is lost, or a limit was lowered) is logged and marked as
    failed.
    """

    def __init__(
        self,
        *,
        opener: IndexOpener,
        images: ImageStore,
        records: RecordStore,
        write_queue: SerialWriteQueue,
    ) -> None:
        self._opener = opener
        self._images = images
        self._records = records
        self._write_queue = write_queue

    async def run(self, collection: LoadedCollection, vectors: IndexedVectors, pace: Pace) -> None:
        """Embed the images that are pending now, unless the vectors are retired meanwhile.

        Images that are added meanwhile are left out: while they come steadily, there would be no end.
        Raises NotReady when the server stops, EncoderFailed and StoreError.
        """
        pending, size = sorted(vectors.pending), self._page(vectors)
        with self._opener.hold(vectors):
            for start in range(0, len(pending), size):
                if collection.dropped or vectors.is_retired:
                    return
                if start % LOG_EVERY < size:
                    log.info("collection %s: %d images to embed", collection.name, len(pending) - start)
                busy_s = vectors.pipeline.embedder.busy_s
                await self.embed(collection, vectors, pending[start : start + size])
                # Waits for the disk do not count: they take nothing from requests.
                encoded_s = vectors.pipeline.embedder.busy_s - busy_s
                await pace.pause(encoded_s, encoded_s)

    async def embed(self, collection: LoadedCollection, vectors: IndexedVectors, keys: Sequence[int]) -> None:
        """Embed these images, if they are still pending. Raises as `run`."""
        rows = await self._embedded(collection, vectors, keys)
        if rows:
            await self._write_queue.run(self._write(collection, vectors, rows))

    async def finish_in_write(self, collection: LoadedCollection, vectors: IndexedVectors) -> None:
        """Embed all pending images. Only inside a write: no image can be added meanwhile."""
        pending = sorted(vectors.pending)
        for start in range(0, len(pending), self._page(vectors)):
            keys = pending[start : start + self._page(vectors)]
            await self._write(collection, vectors, await self._embedded(collection, vectors, keys))

    def _page(self, vectors: IndexedVectors) -> int:
        return min(PAGE, vectors.pipeline.embedder.max_images)

    async def _embedded(
        self, collection: LoadedCollection, vectors: IndexedVectors, keys: Sequence[int]
    ) -> dict[int, Embedding]:
        """The embeddings (D,) by key; keys that fail, or keep no image, are marked so."""
        found = await self._records.by_key(keys)
        vectors.unindexed.difference_update(set(keys) - found.keys())  # deleted meanwhile
        unkept = vectors.unindexed.intersection(key for key, record in found.items() if not record.kept)
        # With `next` vectors the collection would lose these images; those of `current` are damaged vectors.
        (vectors.failed if vectors is collection.current else vectors.without_image).update(unkept)
        records = {key: record for key, record in found.items() if record.kept and key in vectors.pending}
        outcomes = await self._embed(vectors.pipeline, [record.sha256 for record in records.values()])
        rows: dict[int, Embedding] = {}
        for key, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, NotReady):
                raise outcome
            if isinstance(outcome, DiptychError):
                if key not in vectors.unindexed:
                    continue  # deleted meanwhile, and its file with it
                vectors.failed.add(key)
                # logged by row: an id may be a file name, and a sha256 identifies the image
                why = logged_of(outcome)
                log.warning(
                    "collection %s: the image of row %d cannot be embedded: %s", collection.name, key, why
                )
            else:
                rows[key] = outcome
        return rows

    async def _embed(self, pipeline: EncoderPipeline, sha256s: Sequence[str]) -> list[Outcome]:
        originals = await asyncio.gather(*map(self._original, sha256s))
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
        self, collection: LoadedCollection, vectors: IndexedVectors, rows: dict[int, Embedding]
    ) -> None:
        """Store and index the rows, except images that were deleted or embedded meanwhile."""
        if collection.dropped or vectors.is_retired:
            return
        rows = {key: row for key, row in rows.items() if key in vectors.unindexed}
        if not rows:
            return
        kept = await self._records.put_embeddings(list(rows), np.stack(list(rows.values())), vectors.identity)
        if kept:
            await vectors.fill(kept, np.stack([rows[key] for key in kept]))
