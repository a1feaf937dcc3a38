"""Drawings with their texts, and the rendering of an SVG or PNG to a small square RGB image on white."""

import io
from dataclasses import dataclass

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from diptych_training.data.packed import PackedItem


@dataclass(frozen=True)
class Drawing:
    """SVG or PNG bytes, and the item that they show.

    A drawing whose rendering nearly equals that of `unlike` (also SVG or PNG bytes) is dropped.
    """

    item: PackedItem
    payload: bytes
    unlike: bytes | None = None


WHITE = (255, 255, 255)
PNG_MAGIC = b"\x89PNG"
MAX_LEVEL_OF_BLANK = 8  # levels of 255 between the lightest and the darkest pixel
MIN_MEAN_DIFFERENCE = 2.0  # levels of 255: below it two renderings are the same drawing, up to anti-aliasing

Pixels = NDArray[np.uint8]


def render(payload: bytes, size: int) -> Pixels:
    """(size, size, 3) uint8 RGB, letterboxed, transparency on white. ValueError if it cannot be drawn."""
    image = _decode(payload) if payload.startswith(PNG_MAGIC) else _draw_svg(payload.decode(), size)
    scale = size / max(image.size)
    if scale != 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (size, size), WHITE)
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2), image)
    return np.asarray(canvas)


def is_blank(pixels: Pixels) -> bool:
    """True if the image is empty: every pixel has nearly the same value."""
    return bool(np.ptp(pixels, axis=(0, 1)).max() <= MAX_LEVEL_OF_BLANK)


def is_same_drawing(one: Pixels, other: Pixels) -> bool:
    """True if two renderings differ only by anti-aliasing."""
    difference = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return bool(difference.mean() < MIN_MEAN_DIFFERENCE)


def _draw_svg(svg: str, size: int) -> Image.Image:
    """Draw with a longer side of `size` pixels: by width first, again by height if it is taller."""
    image = _decode(resvg_py.svg_to_bytes(svg_string=svg, width=size, skip_system_fonts=True))
    if image.height > size:
        image = _decode(resvg_py.svg_to_bytes(svg_string=svg, height=size, skip_system_fonts=True))
    return image


def _decode(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGBA")
