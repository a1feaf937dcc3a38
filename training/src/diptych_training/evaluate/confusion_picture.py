"""Confusions as one PNG: each image, its label, and the label that the model preferred.

Drawn pixel by pixel with the font that ships with matplotlib, so the bytes are reproducible.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import Kind
from diptych_training.evaluate.table import TITLES

MAX_BYTES = 200_000
WIDTH, COLUMNS, MARGIN = 1000, 5, 8  # pixels
TILE, GAP = 92, 4
LINE, HEADING = 15, 30
INK, PALE, WRONG, PAPER, FRAME = "#222222", "#707070", "#b3261e", "#ffffff", "#d8d8d8"
COLOURS = (256, 64, 16)  # palette sizes, tried in this order
CELL_WIDTH = WIDTH // COLUMNS
TEXT_WIDTH = CELL_WIDTH - 2 * MARGIN
CELL_HEIGHT = TILE + 3 * LINE + 2 * MARGIN
ELLIPSIS = "…"
LEGEND = (
    "Left: the image as the model saw it, with its label. Right: the wrong label that it preferred most, its "
    "probability, and a training image of it."
)


@dataclass(frozen=True)
class Cell:
    """An image (S, S, 3) as the model saw it, its right and given label, and a training image of the given
    one, if any.
    """

    image: Pixels
    right: str
    given: str
    probability: float
    source: str
    nearest_training: Pixels | None


def draw_confusions(cells: Mapping[Kind, Sequence[Cell]], title: str) -> bytes:
    """PNG of at most MAX_BYTES; colours are reduced first, then cells of each kind."""
    n = max(map(len, cells.values()))
    while True:
        sheet = _sheet({kind: some[:n] for kind, some in cells.items()}, title)
        for n_colours in COLOURS:
            png = io.BytesIO()
            sheet.quantize(n_colours, dither=Image.Dither.NONE).save(png, "png", optimize=True)
            if png.tell() <= MAX_BYTES:
                return png.getvalue()
        n //= 2


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


def _sheet(cells: Mapping[Kind, Sequence[Cell]], title: str) -> Image.Image:
    n_rows = sum(-(-len(some) // COLUMNS) for some in cells.values())
    height = 2 * HEADING + len(cells) * HEADING + n_rows * CELL_HEIGHT
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    wide = WIDTH - 2 * MARGIN
    draw.text((MARGIN, MARGIN), shortened(title, font(15, bold=True), wide), INK, font(15, bold=True))
    draw.text((MARGIN, HEADING), shortened(LEGEND, font(12), wide), PALE, font(12))
    y = 2 * HEADING
    for kind, some in cells.items():
        draw.text((MARGIN, y + MARGIN), TITLES[kind], INK, font(14, bold=True))
        y += HEADING
        for number, cell in enumerate(some):
            _draw_cell(
                sheet, draw, cell, CELL_WIDTH * (number % COLUMNS), y + CELL_HEIGHT * (number // COLUMNS)
            )
        y += CELL_HEIGHT * -(-len(some) // COLUMNS)
    return sheet


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    left, top = x + MARGIN, y + MARGIN
    for at, pixels in ((left, cell.image), (left + TILE + GAP, cell.nearest_training)):
        if pixels is not None:
            sheet.paste(_tile(pixels), (at, top))
            draw.rectangle((at - 1, top - 1, at + TILE, top + TILE), outline=FRAME)
    lines = (
        (shortened(cell.right, font(12, bold=True), TEXT_WIDTH), INK, font(12, bold=True)),
        (_answer(cell), WRONG, font(12)),
        (shortened(cell.source, font(11), TEXT_WIDTH), PALE, font(11)),
    )
    for number, (line, colour, face) in enumerate(lines):
        draw.text((left, top + TILE + 2 + LINE * number), line, colour, face)


def _answer(cell: Cell) -> str:
    """The given label and its probability; only the label is shortened."""
    sure = f" {cell.probability:.0%}"
    return shortened(cell.given, font(12), TEXT_WIDTH - font(12).getlength(sure)) + sure


def _tile(pixels: Pixels) -> Image.Image:
    """Resize to the tile: by repeating pixels if the tile is a multiple of the image."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    whole = TILE % image.width == 0
    return image.resize((TILE, TILE), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
