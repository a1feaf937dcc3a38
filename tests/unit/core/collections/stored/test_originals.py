import asyncio
from typing import Any

import pytest

from diptych.core.collections.stored.originals import MADE_AT_ONCE, Originals
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.errors import StoreFull


class FakeStore:
    """Image store, record store and thumbnailer in one; counts the originals that are in memory."""

    def __init__(self) -> None:
        self.held = self.most = 0

    async def get_thumbnail(self, sha256: str, size_px: int) -> None:
        await asyncio.sleep(0)

    async def get(self, sha256: str) -> bytes:
        self.held += 1
        self.most = max(self.most, self.held)
        await asyncio.sleep(0)
        return sha256.encode()

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        await asyncio.sleep(0.001)
        self.held -= 1
        return payload.upper()

    async def sizes(self, sha256s: Any) -> dict[str, int]:
        return {}


async def test_few_originals_are_in_memory_however_many_thumbnails_are_asked_for() -> None:
    store: Any = FakeStore()
    originals = Originals(images=store, records=store, thumbnailer=store, write_queue=SerialWriteQueue())
    made = await asyncio.gather(*(originals.thumbnail(f"a{n}", 64) for n in range(200)))
    assert made == [f"A{n}".encode() for n in range(200)]
    assert store.most == MADE_AT_ONCE


class FullStore(FakeStore):
    async def sizes(self, sha256s: Any) -> dict[str, int]:
        return dict.fromkeys(sha256s, 1)

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        raise StoreFull("no space is left")


async def test_thumbnails_that_a_full_disk_does_not_keep_are_handed_out_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store: Any = FullStore()
    originals = Originals(images=store, records=store, thumbnailer=store, write_queue=SerialWriteQueue())
    for n in range(3):
        assert await originals.thumbnail(f"a{n}", 64) == f"A{n}".encode()
    said = "thumbnails cannot be kept and are made again for each request: no space is left"
    assert [one.getMessage() for one in caplog.records] == [said]
