"""Decode image files of pairs, check them and make large ones smaller; knows nothing of tars."""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from threading import Event
from typing import Concatenate, ParamSpec, TypeVar

from PIL import Image

from diptych.adapters.images.decoder_processes import DecoderProcesses, limits_for
from diptych.bundle.image.formats import ISOLATED, ImageFormat, sniff
from diptych.bundle.image.preprocess import ImageInfo, ImageLimits, open_rgb, probe, silence_decoders
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.pairs.pair import Entry, Unusable

ENDINGS: dict[ImageFormat, str] = {
    "JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "AVIF": "avif",
    "HEIC": "heic",
}  # fmt: skip
JPEG_QUALITY = 95  # of images that are made smaller: what it costs is below what a resize costs
CPU_S = 20  # of processor time for one file, several times what the largest pictures took
AHEAD_EACH = 4  # entries that a thread has waiting, so that none runs dry
Item = TypeVar("Item")
Made = TypeVar("Made")
P = ParamSpec("P")


def isolated(
    work: Callable[Concatenate[bytes, ImageSpec, ImageLimits, P], Made],
    payload: bytes,
    spec: ImageSpec,
    limits: ImageLimits,
    *args: P.args,
    **options: P.kwargs,
) -> Made:
    """`work(payload, spec, limits, *args)`, in another process if the format's decoder may crash or hang.

    Such a file costs its own pair then, and not the run. `work` must be of a module that imports little.
    Raises what `work` raises, and UndecodableImage.
    """
    if sniff(payload) in ISOLATED:
        return _processes(limits.max_px).run(Event(), work, payload, spec, limits, *args, **options)
    return work(payload, spec, limits, *args, **options)


@cache
def _processes(max_px: int) -> DecoderProcesses:
    limits = replace(limits_for(max_px), cpu_s=CPU_S)
    return DecoderProcesses(limits, os.cpu_count() or 1)  # no more than threads that ask


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
            smaller = isolated(_checked, entry.image, self.spec, self.limits, self.size_px)
        except InputError as error:
            return Unusable(entry.name, str(error))
        return entry if smaller is None else replace(entry, image=smaller)


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


def decoded_info(payload: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageInfo:
    """What the header says of an image that can be decoded. Raises InputError."""
    open_rgb(payload, spec, limits)
    return probe(payload, limits)


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


def _checked(payload: bytes, spec: ImageSpec, limits: ImageLimits, size_px: int | None) -> bytes | None:
    """The smaller image, if it is to be smaller. Raises InputError."""
    image = open_rgb(payload, spec, limits)
    if size_px is None or min(image.size) <= size_px:
        return None
    return _smaller(image, size_px, sniff(payload))


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
