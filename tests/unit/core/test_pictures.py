import asyncio
from typing import Any

from diptych.core.pictures import MADE_AT_ONCE, Pictures
from diptych.core.writes import Writes


class Shelf:
    """Files, rows and a maker of thumbnails in one; counts the originals that are in memory."""

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

    async def used(self, sha256s: Any) -> set[str]:
        return set()


def test_few_originals_are_in_memory_however_many_thumbnails_are_asked_for() -> None:
    async def run() -> None:
        shelf: Any = Shelf()
        pictures = Pictures(images=shelf, records=shelf, thumbnailer=shelf, writes=Writes())
        made = await asyncio.gather(*(pictures.thumbnail(f"a{n}", 64) for n in range(200)))
        assert made == [f"A{n}".encode() for n in range(200)]
        assert shelf.most == MADE_AT_ONCE

    asyncio.run(run())
