"""Confusions as one PNG: each image, its label, and the label that the model preferred.

The same confusions always give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import Kind
from diptych_training.evaluate.table import TITLES
from diptych_training.sheet import FRAME, INK, PALE, PAPER, first_within, font, shortened, tile

WIDTH, COLUMNS, MARGIN = 1000, 5, 8  # pixels
TILE, GAP = 92, 4
LINE, HEADING = 15, 30
WRONG = "#b3261e"
CELL_WIDTH = WIDTH // COLUMNS
TEXT_WIDTH = CELL_WIDTH - 2 * MARGIN
CELL_HEIGHT = TILE + 3 * LINE + 2 * MARGIN
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
    """PNG of at most `sheet.MAX_BYTES`; colours are reduced first, then cells of each kind."""
    return first_within(_sheets(cells, title))


def _sheets(cells: Mapping[Kind, Sequence[Cell]], title: str) -> Iterator[Image.Image]:
    n = max(map(len, cells.values()))
    while True:
        yield _sheet({kind: some[:n] for kind, some in cells.items()}, title)
        n //= 2


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
            sheet.paste(tile(pixels, TILE), (at, top))
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
