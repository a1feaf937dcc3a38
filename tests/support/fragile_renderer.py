"""A renderer that dies as native code can: importable by the processes of a render pool."""

import os

import numpy as np
from numpy.typing import NDArray

KILLS, RAISES = b"kills", b"raises"


def render_or_die(payload: bytes, size: int) -> NDArray[np.uint8]:
    """A picture with one dark pixel; `KILLS` ends the process, `RAISES` raises."""
    if payload == KILLS:
        os._exit(9)
    if payload == RAISES:
        raise ValueError("not an SVG")
    pixels = np.full((size, size, 3), 255, dtype=np.uint8)
    pixels[0, 0] = 0
    return pixels
