"""Embed kept images for an identity that lacks their index."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from diptych.core.collections.metadata.reserved import is_missing
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import ImageStore, Records
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.embedder import Embedder
from diptych.core.serving.snapshot import Pair
from diptych.core.types import Embedding, Outcome
from diptych.errors import (
    CorruptStore,
    DiptychError,
    NotReady,
    Overloaded,
    StoreUnavailable,
    TooLarge,
    logged_of,
)

log = logging.getLogger(__name__)

AWAY_S = 5.0  # between two tries while images are out of reach
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
    """Embeds the images that an index of a collection lacks.

    An image that cannot be embedded (its file is lost, or a limit was lowered) is logged and marked as
    failed.
    """

    def __init__(
        self,
        *,
        images: ImageStore,
        records: Records,
        write_queue: SerialWriteQueue,
    ) -> None:
        self._images = images
        self._records = records
        self._write_queue = write_queue

    async def run(self, collection: Collection, pair: Pair, pace: Pace) -> None:
        """Embed the images that are pending now, unless no snapshot has the pair any more.

        Images that are added meanwhile are left out: while they come steadily, there would be no end.
        Raises NotReady when the server stops, EncoderFailed and StoreError.
        """
        if not collection.serving.holds(collection.number, pair):
            return  # it may be closed
        pending, size = sorted(pair.index.pending), _page(pair)
        with pair.use():
            for start in range(0, len(pending), size):
                if not collection.serving.holds(collection.number, pair):
                    return
                if start % LOG_EVERY < size:
                    log.info("collection %s: %d images to embed", collection.name, len(pending) - start)
                busy_s = pair.version.embedder.busy_s
                await self._embed_once_there(collection, pair, pending[start : start + size])
                # Waits for the disk do not count: they take nothing from requests.
                encoded_s = pair.version.embedder.busy_s - busy_s
                await pace.pause(encoded_s, encoded_s)

    async def embed(self, collection: Collection, pair: Pair, keys: Sequence[int]) -> None:
        """Embed these images, if they are still pending. Raises as `run`."""
        rows = await self._embedded(collection, pair, keys)
        if rows:
            await self._write_queue.run(self._write(collection, pair, rows))

    async def _embed_once_there(self, collection: Collection, pair: Pair, keys: Sequence[int]) -> None:
        """As `embed`, but wait as long as the images are out of reach, as those of a library or a store."""
        is_logged = False
        while True:
            try:
                await self.embed(collection, pair, keys)
                return
            except StoreUnavailable as error:
                if not collection.serving.holds(collection.number, pair):
                    return
                if not is_logged:
                    log.warning("collection %s: images wait to be embedded: %s", collection.name, error)
                is_logged = True
                await asyncio.sleep(AWAY_S)

    async def finish_in_write(self, collection: Collection, pair: Pair) -> None:
        """Embed all pending images. Only inside a write: no image can be added meanwhile."""
        pending, size = sorted(pair.index.pending), _page(pair)
        for start in range(0, len(pending), size):
            keys = pending[start : start + size]
            await self._write(collection, pair, await self._embedded(collection, pair, keys))

    async def _embedded(
        self, collection: Collection, pair: Pair, keys: Sequence[int]
    ) -> dict[int, Embedding]:
        """The embeddings (D,) by key; keys that fail, or keep no image, are marked so."""
        index = pair.index
        found = await self._records.rows.by_key(keys)
        index.unindexed.difference_update(set(keys) - found.keys())  # deleted meanwhile
        unkept = index.unindexed.intersection(key for key, record in found.items() if not record.kept)
        # In the next snapshot the collection would lose these images; in this one their vectors are damaged.
        answers = collection.pair is not None and collection.pair.index is index
        (index.failed if answers else index.without_image).update(unkept)
        records = {key: record for key, record in found.items() if record.kept and key in index.pending}
        outcomes = await self._embed(pair.version.embedder, [record.sha256 for record in records.values()])
        rows: dict[int, Embedding] = {}
        for key, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, NotReady):
                raise outcome
            if isinstance(outcome, DiptychError):
                if key not in index.unindexed:
                    continue  # deleted meanwhile, and its file with it
                index.failed.add(key)
                if is_missing(records[key].metadata):
                    continue  # as every start and rollout finds
                # logged by row: an id may be a file name, and a sha256 identifies the image
                why = logged_of(outcome)
                log.warning(
                    "collection %s: the image of row %d cannot be embedded: %s", collection.name, key, why
                )
            else:
                rows[key] = outcome
        return rows

    async def _embed(self, embedder: Embedder, sha256s: Sequence[str]) -> list[Outcome]:
        originals = await asyncio.gather(*map(self._original, sha256s))
        payloads = [original for original in originals if isinstance(original, bytes)]
        rows = iter(await self._embed_patiently(embedder, payloads))
        return [next(rows) if isinstance(original, bytes) else original for original in originals]

    async def _original(self, sha256: str) -> bytes | CorruptStore:
        try:
            return await self._images.get(sha256)
        except CorruptStore as error:
            return error

    async def _embed_patiently(self, embedder: Embedder, payloads: Sequence[bytes]) -> list[Outcome]:
        """Embed while giving way to requests: wait while the queue is full; items that never fit at once go
        one by one.
        """
        while True:
            try:
                return await embedder.embed_images(payloads)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                if len(payloads) == 1:
                    return [error]
                return [(await self._embed_patiently(embedder, [one]))[0] for one in payloads]

    async def _write(self, collection: Collection, pair: Pair, rows: dict[int, Embedding]) -> None:
        """Store and index the rows, except images that were deleted or embedded meanwhile."""
        if not collection.serving.holds(collection.number, pair):
            return
        rows = {key: row for key, row in rows.items() if key in pair.index.unindexed}
        if not rows:
            return
        written = await self._records.vectors.put(
            collection.number, list(rows), np.stack(list(rows.values())), pair.identity
        )
        if written.keys:
            await pair.index.fill(written.keys, np.stack([rows[key] for key in written.keys]))


def _page(pair: Pair) -> int:
    return min(PAGE, pair.version.embedder.max_images)
