"""Originals, thumbnails and picture hashes of stored images."""

import asyncio
import logging
from collections.abc import Mapping

from diptych.core.collections.stored.duplicates import picture_hash
from diptych.core.collections.stored.ports import ImageStore, Records, Thumbnailer
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.encoding.embedder import Embedder
from diptych.core.log_throttle import LogThrottle
from diptych.core.types import DecodedImage
from diptych.errors import CorruptStore, InvalidValue, StoreError

log = logging.getLogger(__name__)

# A closed set, since every requested size is kept on disk.
THUMBNAIL_SIZES_PX = (64, 128, 256, 512, 1024)
MADE_AT_ONCE = 16  # originals in memory at once; waiting requests are small


class Originals:
    """Reads originals, and makes thumbnails when first requested; they are kept as long as the image."""

    def __init__(
        self,
        *,
        images: ImageStore,
        records: Records,
        thumbnailer: Thumbnailer,
        write_queue: SerialWriteQueue,
        read_only: bool = False,
    ) -> None:
        """`read_only`: keep nothing that is made."""
        self._read_only = read_only
        self._images = images
        self._records = records
        self._thumbnailer = thumbnailer
        self._write_queue = write_queue
        self._turn = asyncio.Semaphore(MADE_AT_ONCE)
        self._throttle = LogThrottle()

    async def original(self, sha256: str) -> bytes:
        """The bytes that were added. Raises CorruptStore."""
        return await self._images.get(sha256)

    async def thumbnail(self, sha256: str, size_px: int) -> bytes:
        """A picture whose longer side is at most `size_px`. Raises InvalidValue for a size that is not
        offered.
        """
        if size_px not in THUMBNAIL_SIZES_PX:
            raise InvalidValue(
                f"size {size_px} is not one of {', '.join(map(str, THUMBNAIL_SIZES_PX))}", "size"
            )
        kept = await self._images.get_thumbnail(sha256, size_px)
        if kept is not None:
            return kept
        async with self._turn:
            made = await self._thumbnailer.thumbnail(await self.original(sha256), size_px)
        if self._read_only:
            return made
        try:
            await self._write_queue.run(self._keep(sha256, size_px, made))
        except StoreError as error:  # a full disk is no reason to refuse a finished thumbnail
            if self._throttle.should_log(type(error).__name__):
                log.warning("thumbnails cannot be kept and are made again for each request: %s", error)
        return made

    async def picture_hashes(self, sha256s: Mapping[int, str], embedder: Embedder) -> dict[int, bytes]:
        """The picture hashes of images, given as key -> sha256, as far as they can be known.

        Images of earlier releases have none: they are computed from the originals and stored, which takes as
        long as decoding those. Raises Overloaded, NotReady.
        """
        found = await self._records.rows.hashes(list(sha256s))
        hashes = {key: hash for key, hash in found.items() if hash is not None}
        unknown = sorted(found.keys() - hashes.keys())
        size = min(MADE_AT_ONCE, embedder.max_images)
        for start in range(0, len(unknown), size):
            made = await self._hashed({key: sha256s[key] for key in unknown[start : start + size]}, embedder)
            hashes |= made
            if self._read_only:
                continue
            try:
                await self._records.writer.put_hashes(made)
            except StoreError as error:
                if self._throttle.should_log(type(error).__name__):
                    log.warning("picture hashes cannot be kept and are made again: %s", error)
        return hashes

    async def _hashed(self, sha256s: Mapping[int, str], embedder: Embedder) -> dict[int, bytes]:
        payloads: dict[int, bytes] = {}
        for key, sha256 in sha256s.items():
            try:
                payloads[key] = await self.original(sha256)
            except CorruptStore:
                continue
        decoded = zip(payloads, await embedder.decode_images(list(payloads.values())), strict=True)
        pixels = {key: image.pixels for key, image in decoded if isinstance(image, DecodedImage)}
        return await asyncio.to_thread(lambda: {key: picture_hash(one) for key, one in pixels.items()})

    async def _keep(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail, unless the image was deleted meanwhile: then no file of it may stay."""
        if await self._images.sizes([sha256]):
            await self._images.put_thumbnail(sha256, size_px, thumbnail)
