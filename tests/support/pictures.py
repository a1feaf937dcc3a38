"""Small encoded pictures for tests, made on the spot; knows nothing of models or servers."""

import io
from typing import Any

import numpy as np
from PIL import Image

from support.tiny_graphs import COLOURS


def picture(colour: str | tuple[int, int, int], size: tuple[int, int] = (40, 32), form: str = "PNG") -> bytes:
    """A plain picture of one colour, by name (`red`) or RGB, as encoded bytes."""
    rgb = COLOURS[colour] if isinstance(colour, str) else colour
    return encoded(Image.new("RGB", size, rgb), form)


def noise(seed: int, size: tuple[int, int] = (48, 48), form: str = "PNG") -> bytes:
    """A random picture: other bytes for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), form)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The file of a picture; `options` are those of Pillow."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()
