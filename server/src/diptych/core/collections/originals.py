"""Originals and thumbnails of stored images."""

import asyncio
import logging

from diptych.core.collections.ports import ImageStore, RecordStore, Thumbnailer
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.log_throttle import LogThrottle
from diptych.errors import InvalidValue, StoreError

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
        records: RecordStore,
        thumbnailer: Thumbnailer,
        write_queue: SerialWriteQueue,
    ) -> None:
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
        try:
            await self._write_queue.run(self._keep(sha256, size_px, made))
        except StoreError as error:  # a full disk is no reason to refuse a finished thumbnail
            if self._throttle.should_log(type(error).__name__):
                log.warning("thumbnails cannot be kept and are made again for each request: %s", error)
        return made

    async def _keep(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail, unless the image was deleted meanwhile: then no file of it may stay."""
        if await self._records.used_files([sha256]):
            await self._images.put_thumbnail(sha256, size_px, thumbnail)
