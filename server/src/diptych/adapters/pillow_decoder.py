"""Decode image files in a pool of threads; knows nothing of models beyond the bundle's image settings."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from diptych.bundle import image
from diptych.bundle.manifest import ImageSpec
from diptych.core.types import Pixels


class PillowDecoder:
    """Satisfies `Decoder` and `Thumbnailer` of `diptych.core.ports`; Pillow decodes without the GIL."""

    def __init__(self, spec: ImageSpec, limits: image.ImageLimits, *, n_threads: int) -> None:
        self._spec = spec
        self._limits = limits
        self._pool = ThreadPoolExecutor(max_workers=n_threads, thread_name_prefix="decode")

    async def decode(self, payload: bytes) -> Pixels:
        """-> (S, S, 3) uint8. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        work = partial(image.load_pixels, payload, self._spec, self._limits)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def probe(self, payload: bytes) -> image.ImageInfo:
        """Read the header only. Raises UnsupportedImage, UndecodableImage, TooLarge."""
        work = partial(image.probe, payload, self._limits)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def thumbnail(self, payload: bytes, size_px: int) -> bytes:
        """WebP, the longer side at most `size_px`. Raises as decode."""
        work = partial(image.thumbnail, payload, self._limits, size_px)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
