"""Read the EXIF of images that were stored before it was read, or before more of it was."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from diptych.bundle.image.exif import Exif
from diptych.core.collections.metadata.exif import exif_fields
from diptych.core.collections.stored.collection import Collection
from diptych.core.collections.stored.ports import HeaderReader, ImageStore, Records
from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.types import ExifLevel, Metadata
from diptych.errors import InputError, NotFound, StoreError, StoreUnavailable

log = logging.getLogger(__name__)

AT_ONCE = 8  # originals in memory
CHUNK = 128  # images in one transaction; few, so that other writes wait milliseconds
LOG_EVERY = 128 * CHUNK
RETRY_S = 60.0  # after the data folder failed


class ExifReading:
    """Reads the kept originals of collections by ascending key, and adds to their metadata what is lacking.

    The last key is stored with each chunk, so that the next start goes on after it. An original that is lost,
    damaged or unreadable is passed over. `level`: what is stored of EXIF.
    """

    def __init__(
        self,
        *,
        images: ImageStore,
        records: Records,
        headers: HeaderReader,
        write_queue: SerialWriteQueue,
        level: ExifLevel,
    ) -> None:
        self.level: ExifLevel = level
        self._images = images
        self._records = records
        self._headers = headers
        self._write_queue = write_queue

    async def begin(self, collections: Iterable[Collection]) -> dict[Collection, int]:
        """The collections that have originals to read, with the key after which these come.

        Call it before images are added: of these, EXIF is read as they come.
        """
        found: dict[Collection, int] = {}
        for collection in collections:
            try:
                after = await self._records.catalogue.begin_exif(collection.number, self.level)
            except NotFound:  # another server has dropped it
                continue
            if after is not None:
                found[collection] = after
        return found

    async def run(self, unread: Mapping[Collection, int], pace: Pace) -> None:
        """Read the originals of these collections, one after the other. Raises NotReady at the stop.

        While the data folder fails, it is tried again.
        """
        for collection, after in unread.items():
            if collection.n_images:
                log.info("collection %s: reading the EXIF of images after key %d", collection.name, after)
            try:
                await self._read(collection, after, pace)
            except NotFound:
                log.info("collection %s was dropped while its EXIF was read", collection.name)

    async def _read(self, collection: Collection, after: int | None, pace: Pace) -> None:
        n_read = n_found = 0
        while after is not None:
            try:
                originals = await self._records.rows.originals(collection.number, after, CHUNK)
                found = await self._fields(originals, pace)
                last = max(originals) if len(originals) == CHUNK else None
                await self._write_queue.run(self._records.writer.add_exif(collection.number, found, last))
            except NotFound:
                raise
            except StoreError as error:
                log.warning(
                    "collection %s: EXIF cannot be read or stored, it is tried again: %s",
                    collection.name,
                    error,
                )
                await asyncio.sleep(RETRY_S)
                continue
            after, n_read, n_found = last, n_read + len(originals), n_found + len(found)
            if n_read and (after is None or n_read % LOG_EVERY == 0):
                log.info("collection %s: %d originals read, %d have EXIF", collection.name, n_read, n_found)

    async def _fields(self, originals: Mapping[int, str], pace: Pace) -> dict[int, Metadata]:
        """What is to be stored of originals, by key; those without EXIF are left out."""
        keys, found = list(originals), dict[int, Metadata]()
        for start in range(0, len(keys), AT_ONCE):
            began = time.monotonic()
            some = keys[start : start + AT_ONCE]
            read = await self._exif_of([originals[key] for key in some])
            found |= {
                key: fields
                for key, exif in zip(some, read, strict=True)
                if exif is not None and (fields := exif_fields(exif, self.level))
            }
            await pace.pause(time.monotonic() - began, 0.0)
        return found

    async def _exif_of(self, sha256s: Sequence[str]) -> list[Exif | None]:
        payloads = await asyncio.gather(*map(self._original, sha256s))
        headers = iter(await self._headers.headers([one for one in payloads if one is not None]))
        read = [None if one is None else next(headers) for one in payloads]
        return [None if one is None or isinstance(one, InputError) else one.exif for one in read]

    async def _original(self, sha256: str) -> bytes | None:
        try:
            return await self._images.get(sha256)
        except StoreUnavailable:  # all of them are out of reach for a while
            raise
        except StoreError:
            return None
