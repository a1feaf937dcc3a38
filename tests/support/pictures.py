"""Small encoded pictures for tests, made on the spot; knows nothing of models or servers."""

import io

import numpy as np
from PIL import Image

from support.tiny_graphs import COLOURS


def picture(colour: str | tuple[int, int, int], size: tuple[int, int] = (40, 32), form: str = "PNG") -> bytes:
    """A plain picture of one colour, by name (`red`) or RGB, as encoded bytes."""
    rgb = COLOURS[colour] if isinstance(colour, str) else colour
    return _encode(Image.new("RGB", size, rgb), form)


def noise(seed: int, size: tuple[int, int] = (48, 48), form: str = "PNG") -> bytes:
    """A random picture: other bytes for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return _encode(Image.fromarray(pixels), form)


def _encode(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()
