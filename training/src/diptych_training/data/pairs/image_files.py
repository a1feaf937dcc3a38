"""Decode and check the image files of pairs, and make large ones smaller."""

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
JPEG_QUALITY = 95  # of resized images: its loss is below that of the resize
CPU_S = 20  # limit of processor time for one file, several times that of the largest pictures
AHEAD_EACH = 4  # queued entries per thread, so that none runs idle
Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


def run_isolated(
    work: Callable[Concatenate[bytes, ImageSpec, ImageLimits, P], Result],
    payload: bytes,
    spec: ImageSpec,
    limits: ImageLimits,
    *args: P.args,
    **options: P.kwargs,
) -> Result:
    """Call `work(payload, spec, limits, *args)`, in another process if the decoder may crash or hang.

    Such a file then costs only its own pair, not the run. `work` must be defined in a module with few
    imports. Raises what `work` raises, and UndecodableImage.
    """
    if sniff(payload) in ISOLATED:
        return _processes(limits.max_px).run(Event(), work, payload, spec, limits, *args, **options)
    return work(payload, spec, limits, *args, **options)


@cache
def _processes(max_px: int) -> DecoderProcesses:
    limits = replace(limits_for(max_px), cpu_s=CPU_S)
    return DecoderProcesses(limits, os.cpu_count() or 1)  # no more processes than threads that use them


@dataclass(frozen=True)
class ImageCheck:
    """Decodes every image once; with `size_px`, reduces images whose shorter side is longer."""

    spec: ImageSpec
    limits: ImageLimits
    size_px: int | None = None

    def __call__(self, entry: Entry) -> Entry:
        """The pair, possibly with a smaller image, or an Unusable with the reason."""
        if isinstance(entry, Unusable):
            return entry
        try:
            smaller = run_isolated(_checked, entry.image, self.spec, self.limits, self.size_px)
        except InputError as error:
            return Unusable(entry.name, str(error))
        return entry if smaller is None else replace(entry, image=smaller)


def plain_spec(size_px: int = 224) -> ImageSpec:
    """Default image preprocessing without a recipe."""
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
    """Decode an image and return its header's information. Raises InputError."""
    open_rgb(payload, spec, limits)
    return probe(payload, limits)


def ending_of(payload: bytes) -> str:
    """The file extension for an image, from its first bytes; they must be those of an image."""
    image_format = sniff(payload)
    assert image_format is not None
    return ENDINGS[image_format]


def map_in_threads(
    items: Iterator[Item], work: Callable[[Item], Result], n_threads: int
) -> Iterator[tuple[Item, Result]]:
    """Map `work` over items in threads, a few items ahead; yields (item, result) in order.

    Threads suffice, since decoders release the GIL.
    """
    silence_decoders()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="check") as pool:
        waiting: list[tuple[Item, Future[Result]]] = []
        while True:
            for item in islice(items, n_threads * AHEAD_EACH - len(waiting)):
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.pop(0)
            yield item, future.result()


def _checked(payload: bytes, spec: ImageSpec, limits: ImageLimits, size_px: int | None) -> bytes | None:
    """The resized file, or None if the image is small enough. Raises InputError."""
    image = open_rgb(payload, spec, limits)
    if size_px is None or min(image.size) <= size_px:
        return None
    return _smaller(image, size_px, sniff(payload))


def _smaller(image: Image.Image, size_px: int, image_format: ImageFormat | None) -> bytes:
    """Resize to a shorter side of `size_px`; lossless formats become PNG, others JPEG."""
    scale = size_px / min(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    if image_format in ("PNG", "BMP", "GIF", "TIFF"):
        resized.save(out, "PNG")
    else:
        resized.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return out.getvalue()
