"""Resizes an upright picture for the model, in one call of Pillow or in parts that run in parallel.

Pillow resizes in two passes, along the rows and then along the columns, and rounds to 8 bits after each. In
neither pass does a row or column depend on its neighbours, so that parts give the same bytes as the whole.
Rows that the model's square does not need are skipped before the passes, columns between them. If Pillow
takes the columns first, which gives other bytes, it resizes the whole picture.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.image.geometry import Placement
from diptych.bundle.manifest import ImageSpec

Part = Callable[[], None]


@dataclass(frozen=True)
class Sharing:
    """Threads for parallel work: `run` executes every part, with `n_threads` threads."""

    n_threads: int
    run: Callable[[Sequence[Part]], None]


# a single thread: Pillow resizes the whole picture, and `run` is never called
ALONE = Sharing(1, lambda parts: None)

MIN_SHARED_PX = 1 << 17  # takes half a millisecond, ten times as long as to wake a thread
BAND_PX = 1 << 18  # a part's copy of a megabyte fits into the L2 cache
BAND_ROWS = 64  # at least, since each part computes the weights of the filter again

# The support of each filter, in pixels of the input or the output, whichever is coarser.
_REACH = {"box": 0.5, "bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}


def resize(image: Image.Image, placement: Placement, spec: ImageSpec, sharing: Sharing) -> NDArray[np.uint8]:
    """RGB image -> (S, S, 3): resized as `placement` says, then cropped or padded to the model's square.

    The bytes equal those of `Image.resize` and a crop of its result.
    """
    filter = Image.Resampling[spec.interpolation.upper()]
    is_shared = sharing.n_threads > 1 and image.width * image.height >= MIN_SHARED_PX
    if not is_shared or spec.interpolation == "nearest" or _is_shortened_first(image, placement):
        return on_canvas(image.resize((placement.width, placement.height), filter), placement, spec)
    left, n_columns = kept(placement.left, placement.width, spec.size)
    top, n_rows = kept(placement.top, placement.height, spec.size)
    rows = _needed_rows(image.height, placement.height, top, top + n_rows, spec.interpolation)
    narrow = Image.new("RGB", (n_columns, image.height))

    def narrowed(start: int, stop: int) -> None:
        band = image.crop((0, start, image.width, stop))
        narrow.paste(band.resize((placement.width, stop - start), filter), (-left, start))

    sharing.run(_parts(narrowed, rows, _n_bands(image, rows, sharing.n_threads)))
    canvas = np.full((spec.size, spec.size, 3), spec.fill_color, np.uint8)
    y, x = max(placement.top, 0), max(placement.left, 0)

    def shortened(start: int, stop: int) -> None:
        strip = narrow.crop((start, 0, stop, image.height))
        short = strip.resize((stop - start, placement.height), filter)
        if n_rows < placement.height:
            short = short.crop((0, top, stop - start, top + n_rows))
        canvas[y : y + n_rows, x + start : x + stop] = np.asarray(short)

    sharing.run(_parts(shortened, range(n_columns), sharing.n_threads))
    return canvas


def on_canvas(resized: Image.Image, placement: Placement, spec: ImageSpec) -> NDArray[np.uint8]:
    """Crop or pad a resized image to the model's square."""
    canvas = Image.new("RGB", (spec.size, spec.size), spec.fill_color)
    canvas.paste(resized, (placement.left, placement.top))
    return np.array(canvas)


def _is_shortened_first(image: Image.Image, placement: Placement) -> bool:
    """Whether Pillow 13 resizes along the columns before the rows."""
    n_fewer_rows, n_fewer_columns = image.height - placement.height, image.width - placement.width
    return n_fewer_rows > max(0, 2 * n_fewer_columns)


def kept(offset: int, length: int, size: int) -> tuple[int, int]:
    """(start, length) of the part of a resized edge that lies on the canvas; see `Placement`."""
    start = max(-offset, 0)
    return start, min(length - start, size)


def _needed_rows(height: int, resized: int, start: int, stop: int, interpolation: str) -> range:
    """The rows of an image of `height` rows that rows `start` to `stop` of the resized one depend on."""
    scale = height / resized
    reach = _REACH[interpolation] * max(scale, 1.0) + 1  # and one more for rounding
    first, end = math.floor((start + 0.5) * scale - reach), math.ceil((stop - 0.5) * scale + reach)
    return range(max(0, first), min(height, end))


def _n_bands(image: Image.Image, rows: range, n_threads: int) -> int:
    """The number of bands: enough that copies are small, and at least one for each thread."""
    n_small = min(math.ceil(len(rows) * image.width / BAND_PX), len(rows) // BAND_ROWS)
    return max(n_threads, n_small)


def _parts(work: Callable[[int, int], None], over: range, n_parts: int) -> list[Part]:
    """Split a range into `n_parts` consecutive, non-empty parts of `work`."""
    n_parts = min(n_parts, len(over))
    bounds = [over.start + len(over) * i // n_parts for i in range(n_parts + 1)]

    def part(start: int, stop: int) -> Part:
        return lambda: work(start, stop)

    return [part(start, stop) for start, stop in pairwise(bounds)]
