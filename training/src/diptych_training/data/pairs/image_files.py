"""Check image files before they go into shards, and make large ones smaller; knows nothing of tars."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from PIL import Image

from diptych.bundle.formats import ImageFormat, sniff
from diptych.bundle.image import ImageLimits, open_rgb, silence_decoders
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.pairs.pair import Entry, Unusable

ENDINGS: dict[ImageFormat, str] = {
    "JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif",
    "HEIF": "heic",
}  # fmt: skip
JPEG_QUALITY = 95  # of images that are made smaller: what it costs is below what a resize costs
AHEAD_EACH = 4  # entries that a thread has waiting, so that none runs dry
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class ImageCheck:
    """Decodes every image once. With `size_px`, one whose shorter side is longer is made that small."""

    spec: ImageSpec
    limits: ImageLimits
    size_px: int | None = None

    def __call__(self, entry: Entry) -> Entry:
        """The pair, perhaps with a smaller image, or why it cannot be used."""
        if isinstance(entry, Unusable):
            return entry
        try:
            image = open_rgb(entry.image, self.spec, self.limits)
        except InputError as error:
            return Unusable(entry.name, str(error))
        if self.size_px is None or min(image.size) <= self.size_px:
            return entry
        return replace(entry, image=_smaller(image, self.size_px, sniff(entry.image)))


def plain_spec(size_px: int = 224) -> ImageSpec:
    """How images are prepared where no recipe says it."""
    return ImageSpec(
        size=size_px,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        resize_mode="shortest",
        crop="round",
        alpha="white",
    )


def ending_of(payload: bytes) -> str:
    """The ending of an image file's name, by its first bytes. They are known to be those of an image."""
    image_format = sniff(payload)
    assert image_format is not None
    return ENDINGS[image_format]


def side_by_side(
    items: Iterator[Item], work: Callable[[Item], Made], n_threads: int
) -> Iterator[tuple[Item, Made]]:
    """Each item with what `work` makes of it, in order; a few items ahead are worked on at once.

    Decoders let go of the interpreter, so threads are enough.
    """
    silence_decoders()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="check") as pool:
        waiting: list[tuple[Item, Future[Made]]] = []
        while True:
            for item in islice(items, n_threads * AHEAD_EACH - len(waiting)):
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.pop(0)
            yield item, future.result()


def _smaller(image: Image.Image, size_px: int, image_format: ImageFormat | None) -> bytes:
    """The shorter side `size_px` long. What had no loss has none."""
    scale = size_px / min(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    if image_format in ("PNG", "BMP", "GIF", "TIFF"):
        resized.save(out, "PNG")
    else:
        resized.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()
