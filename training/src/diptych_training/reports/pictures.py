"""Pictures of reports: sheets of small pictures with texts, and WebP files inside a page.

The bytes of a sheet are reproducible: it is drawn with the font that ships with matplotlib.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageFont

from diptych.bundle.encoder import Pixels

MAX_BYTES = 200_000
INK, PALE, PAPER, FRAME = "#222222", "#707070", "#ffffff", "#d8d8d8"
COLOURS = (256, 64, 16)  # palette sizes, tried in this order
ELLIPSIS = "…"


def first_within(
    sheets: Iterable[Image.Image], max_bytes: int = MAX_BYTES, colours: Sequence[int] = COLOURS
) -> bytes:
    """The first sheet as a PNG of at most `max_bytes`, with the first number of `colours` that allows it.

    If a sheet is too large with all of them, the next one is tried. The last one must fit.
    """
    for sheet in sheets:
        for n_colours in colours:
            png = io.BytesIO()
            sheet.quantize(n_colours, dither=Image.Dither.NONE).save(png, "png", optimize=True)
            if png.tell() <= max_bytes:
                return png.getvalue()
    raise ValueError(f"no sheet is a PNG of at most {max_bytes} bytes")


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """One line of at most `width` pixels; the end is replaced by an ellipsis if the text is longer."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    n = next(n for n in range(len(line), -1, -1) if font.getlength(f"{line[:n].rstrip()}{ELLIPSIS}") <= width)
    return f"{line[:n].rstrip()}{ELLIPSIS}"


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans with basic layout, so that the result does not depend on how Pillow was built."""
    file = Path(get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def tile(pixels: Pixels, size_px: int) -> Image.Image:
    """Resize (S, S, 3) to a tile: by repeating pixels if the tile is a multiple of the image."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    whole = size_px % image.width == 0
    return image.resize((size_px, size_px), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


LARGEST = 112  # pixels of a side; larger pictures are made smaller
QUALITY = 80


def picture_uri(pixels: Pixels) -> str:
    """(H, W, 3) -> ``data:image/webp;base64,...``."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "webp", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
