"""Draw a sample of pairs as one PNG: pictures as the model sees them, each with its captions."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from PIL import Image, ImageDraw

from diptych_training.data.packed import Images, PackedItem, hash_fraction
from diptych_training.files import open_atomic
from diptych_training.reports.pictures import FRAME, INK, PALE, PAPER, first_within, font, shortened, tile

SHEET_FILE = "contact-sheet.png"
WIDTH, COLUMNS = 1000, 7
ROWS = (6, 4, 3, 2, 1, 0)  # tried in this order until the sheet is small enough
TILE, MARGIN, LINE, HEADING = 128, 7, 14, 32  # pixels
CELL_WIDTH = (WIDTH - 2 * MARGIN) // COLUMNS
CELL_HEIGHT = TILE + 2 * LINE + 2 * MARGIN
COLOURS = (256, 64)


def write_contact_sheet(folder: Path, images: Images, items: Sequence[PackedItem]) -> None:
    """Write SHEET_FILE, at most `sheet.MAX_BYTES`: as many pictures as fit, of many captions."""
    chosen = _spread(items)[: COLUMNS * ROWS[0]]
    png = first_within(_sheets(images, items, chosen), colours=COLOURS)
    with open_atomic(folder / SHEET_FILE) as file:
        file.write(png)


def _sheets(images: Images, items: Sequence[PackedItem], chosen: Sequence[int]) -> Iterator[Image.Image]:
    needed = -(-len(chosen) // COLUMNS)
    for n_rows in (needed, *(fewer for fewer in ROWS if fewer < needed)):
        yield _sheet(images, items, chosen[: n_rows * COLUMNS])


def _sheet(images: Images, items: Sequence[PackedItem], chosen: Sequence[int]) -> Image.Image:
    n_rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (WIDTH, HEADING + n_rows * CELL_HEIGHT + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    heading = f"{len(chosen):,} of {len(items):,} pairs, as the model sees them at {images.shape[1]} px"
    draw.text((2 * MARGIN, MARGIN), heading, INK, font(15, bold=True))
    for number, index in enumerate(chosen):
        left = 2 * MARGIN + number % COLUMNS * CELL_WIDTH
        top = HEADING + number // COLUMNS * CELL_HEIGHT
        sheet.paste(tile(images[index], TILE), (left, top))
        draw.rectangle((left - 1, top - 1, left + TILE, top + TILE), outline=FRAME)
        _draw_captions(draw, items[index], left, top + TILE + 2)
    return sheet


def _draw_captions(draw: ImageDraw.ImageDraw, item: PackedItem, left: int, top: int) -> None:
    """The label, on two lines if it needs them, else with the first further caption below it."""
    face, width = font(11), CELL_WIDTH - MARGIN
    first, rest = _broken(item.label, width)
    draw.text((left, top), first, INK, face)
    if rest:
        draw.text((left, top + LINE), shortened(rest, face, width), INK, face)
    elif item.captions:
        draw.text((left, top + LINE), shortened(item.captions[0], face, width), PALE, face)


def _broken(text: str, width: float) -> tuple[str, str]:
    """As many words as fit on a line (at least one, shortened if need be), and the others."""
    words, face = text.split(), font(11)
    n = len(words)
    while n > 1 and face.getlength(" ".join(words[:n])) > width:
        n -= 1
    return shortened(" ".join(words[:n]), face, width), " ".join(words[n:])


def _spread(items: Sequence[PackedItem]) -> list[int]:
    """All positions: first one of each label, then a second one of each, in a fixed random order."""
    of_label: defaultdict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(items)), key=lambda index: hash_fraction(f"sheet {items[index].id}")):
        of_label[items[index].label].append(index)
    rounds = zip_longest(*of_label.values())
    return [index for some in rounds for index in some if index is not None]
