"""Pictures of reports: contact sheets, and WebP files inside a page.

The bytes of a sheet are reproducible: it is drawn with the font that ships with matplotlib.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from diptych.bundle.encoder import Pixels

WIDTH, MARGIN, GAP, LINE, HEADING = 1000, 8, 4, 15, 30  # pixels
TEXT = 12  # size of the texts in cells
MAX_BYTES = 200_000
INK, PALE, PAPER, FRAME = "#222222", "#707070", "#ffffff", "#d8d8d8"
COLOURS = (256, 64, 16)  # palette sizes, tried in this order
ELLIPSIS = "…"
LONGEST_DRAWN = 200  # characters of a text that are measured: more than fit on a line or two
LARGEST = 112  # pixels of a side in a page; larger pictures are made smaller
QUALITY = 80


@dataclass(frozen=True)
class Line:
    """A text in a cell, on up to `n_lines` lines; `tail` follows it and is never cut."""

    text: str
    colour: str = INK
    is_bold: bool = False
    tail: str = ""
    n_lines: int = 1


@dataclass(frozen=True)
class Cell:
    """Pictures (S, S, 3) side by side, each of which may be missing, and lines of text below them."""

    pictures: tuple[Pixels | None, ...]
    lines: tuple[Line, ...]


def contact_sheet(
    title: str,
    groups: Mapping[str, Sequence[Cell]],
    *,
    columns: int,
    tile_px: int,
    n_lines: int,
    note: str = "",
    width: int = WIDTH,
) -> Image.Image:
    """Cells in rows under the heading of their group, if that is not empty."""
    cell_width, cell_height = width // columns, tile_px + n_lines * LINE + 2 * MARGIN
    top = HEADING * (2 if note else 1)
    heights = [
        (HEADING if name else 0) + cell_height * -(-len(cells) // columns) for name, cells in groups.items()
    ]
    sheet = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    room = width - 2 * MARGIN
    draw.text((MARGIN, MARGIN), shortened(title, font(15, bold=True), room), INK, font(15, bold=True))
    draw.text((MARGIN, HEADING), shortened(note, font(TEXT), room), PALE, font(TEXT))
    for (name, cells), height in zip(groups.items(), heights, strict=True):
        draw.text(
            (MARGIN, top + MARGIN), shortened(name, font(14, bold=True), room), INK, font(14, bold=True)
        )
        first = top + (HEADING if name else 0)
        for number, cell in enumerate(cells):
            left, above = cell_width * (number % columns), first + cell_height * (number // columns)
            _draw_cell(sheet, draw, cell, (left + MARGIN, above + MARGIN), tile_px)
            _draw_lines(
                draw, cell.lines, (left + MARGIN, above + MARGIN + tile_px + 2), cell_width - MARGIN, n_lines
            )
        top += height
    return sheet


def first_within(
    sheets: Iterable[Image.Image], max_bytes: int = MAX_BYTES, colours: Sequence[int] = COLOURS
) -> bytes:
    """The first sheet as a PNG of at most `max_bytes`, with the first number of `colours` that allows it.

    If a sheet is too large with all of them, the next one is tried. The last one must fit.
    """
    for sheet in sheets:
        for n_colours in colours:
            png = io.BytesIO()
            # Median cut is a little closer to the pictures, but takes seconds for a sheet of many colours.
            few = sheet.quantize(n_colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            few.save(png, "png", optimize=True)
            if png.tell() <= max_bytes:
                return png.getvalue()
    raise ValueError(f"no sheet is a PNG of at most {max_bytes} bytes")


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """One line of at most `width` pixels; the end is replaced by an ellipsis if the text is longer."""
    line = _start(text)
    if font.getlength(line) <= width:
        return line
    n = next(n for n in range(len(line), -1, -1) if font.getlength(f"{line[:n].rstrip()}{ELLIPSIS}") <= width)
    return f"{line[:n].rstrip()}{ELLIPSIS}"


def _start(text: str) -> str:
    """The text on one line of at most LONGEST_DRAWN characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_DRAWN else f"{line[: LONGEST_DRAWN - 1].rstrip()}{ELLIPSIS}"


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans with basic layout, so that the result does not depend on how Pillow was built."""
    file = Path(get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


def picture_uri(pixels: Pixels) -> str:
    """(H, W, 3) -> ``data:image/webp;base64,...``."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "webp", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int], tile_px: int
) -> None:
    left, top = place
    for pixels in cell.pictures:
        if pixels is not None:
            sheet.paste(_tile(pixels, tile_px), (left, top))
            draw.rectangle((left - 1, top - 1, left + tile_px, top + tile_px), outline=FRAME)
        left += tile_px + GAP


def _draw_lines(
    draw: ImageDraw.ImageDraw, lines: Sequence[Line], place: tuple[int, int], width: int, n_lines: int
) -> None:
    left, top = place
    drawn = [(text, line) for line in lines for text in _broken(line, width - MARGIN)]
    for number, (text, line) in enumerate(drawn[:n_lines]):
        draw.text((left, top + LINE * number), text, line.colour, font(TEXT, bold=line.is_bold))


def _broken(line: Line, width: float) -> list[str]:
    """The text on as many lines as it may have, each with as many words as fit; the last one is cut."""
    face, words, found = font(TEXT, bold=line.is_bold), _start(line.text).split(), list[str]()
    while words and len(found) < line.n_lines - 1:
        n = next((n for n in range(len(words), 1, -1) if face.getlength(" ".join(words[:n])) <= width), 1)
        found.append(shortened(" ".join(words[:n]), face, width))
        words = words[n:]
    rest = shortened(" ".join(words), face, width - face.getlength(line.tail)) + line.tail
    return [*found, rest] if rest else found


def _tile(pixels: Pixels, size_px: int) -> Image.Image:
    """Resize (S, S, 3) to a tile: by repeating pixels if the tile is a multiple of the image."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    whole = size_px % image.width == 0
    return image.resize((size_px, size_px), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
