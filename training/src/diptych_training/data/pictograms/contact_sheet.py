"""Draw contact sheets of a packed data set."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.files import open_atomic

N_COLUMNS = 16
GAP_PX = 6
NAME_WIDTH_PX = 190
CAPTION_HEIGHT_PX = 13
HEADING_HEIGHT_PX = 40
MAX_ROWS = 48  # of the sheet of one split
INK, PALE, PAPER, CELL = "#1d2433", "#6b7280", "#f3f4f6", "#ffffff"


def write_contact_sheets(dataset: PackedDataset) -> None:
    """Write contact_sheet.png (some sources of every split) and contact_sheet_<split>.png."""
    overview: list[PackedSource] = []
    for split in get_args(Split):
        sources = dataset.sources(split)
        if sources:
            emoji_first = sorted(sources, key=lambda source: (source.kind, source.name))
            overview += _spread(emoji_first, 8)
            _write(dataset, f"contact_sheet_{split}.png", _spread(emoji_first, MAX_ROWS), split)
    _write(dataset, "contact_sheet.png", overview, "train, validation and eval")


def draw_sheet(sources: Sequence[PackedSource], image_size: int, heading: str) -> Image.Image:
    """One row per source: its name, licence and count, and N_COLUMNS images with their labels."""
    cell_px = image_size + GAP_PX
    row_px = image_size + CAPTION_HEIGHT_PX + 2 * GAP_PX
    size = (NAME_WIDTH_PX + N_COLUMNS * cell_px + GAP_PX, HEADING_HEIGHT_PX + len(sources) * row_px + GAP_PX)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((2 * GAP_PX, 10), heading, fill=INK, font=ImageFont.load_default(18))
    for row, source in enumerate(sources):
        top = HEADING_HEIGHT_PX + row * row_px
        _draw_name(draw, source, top)
        for column, index in enumerate(_chosen(source)):
            left = NAME_WIDTH_PX + column * cell_px
            sheet.paste(Image.fromarray(np.asarray(source.images[index])), (left, top))
            _draw_label(draw, source.items[index].label, (left, top + image_size + 1), image_size)
    return sheet


def _write(dataset: PackedDataset, name: str, sources: Sequence[PackedSource], what: str) -> None:
    sheet = draw_sheet(sources, dataset.image_size, f"{dataset.name}: {what}")
    with open_atomic(dataset.path / name) as file:
        sheet.save(file, "PNG", optimize=True)


def _draw_name(draw: ImageDraw.ImageDraw, source: PackedSource, top: int) -> None:
    lines = [
        (source.name, INK, 13),
        (f"{source.split} {source.kind}, {len(source.items):,}", PALE, 11),
        (source.licence, PALE, 11),
    ]
    for number, (text, colour, height) in enumerate(lines):
        draw.text((2 * GAP_PX, top + 8 + number * 17), text, fill=colour, font=ImageFont.load_default(height))


def _draw_label(draw: ImageDraw.ImageDraw, label: str, at: tuple[int, int], width_px: int) -> None:
    font = ImageFont.load_default(9)
    text = label
    while text and draw.textlength(text, font=font) > width_px:
        text = text[:-1]
    draw.text(at, text if text == label else f"{text[:-1]}…", fill=PALE, font=font)


def _chosen(source: PackedSource) -> list[int]:
    """Images spread evenly over the source, without skin-tone variants."""
    plain = [index for index, item in enumerate(source.items) if item.weight == 1.0]
    return [plain[i] for i in _evenly(len(plain), N_COLUMNS)]


def _spread(sources: Sequence[PackedSource], n: int) -> list[PackedSource]:
    """All emoji styles, and icon sets spread evenly, `n` in total."""
    emoji = [source for source in sources if source.kind == "emoji"]
    icons = [source for source in sources if source.kind == "icons"]
    return [*emoji, *(icons[i] for i in _evenly(len(icons), n - len(emoji)))]


def _evenly(n_items: int, n_wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, n_items - 1, min(n_items, max(0, n_wanted))).astype(int).tolist()))
