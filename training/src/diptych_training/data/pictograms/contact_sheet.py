"""Draw contact sheets of a packed data set."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from PIL import Image

from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.files import open_atomic
from diptych_training.reports.pictures import MARGIN, PALE, Cell, Line, contact_sheet

N_COLUMNS = 16
MAX_ROWS = 48  # of the sheet of one split


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
    groups = {
        f"{one.name}: {one.split} {one.kind}, {len(one.items):,}, {one.licence}": [
            Cell((one.images[index],), (Line(one.items[index].label, PALE),)) for index in _chosen(one)
        ]
        for one in sources
    }
    width = N_COLUMNS * (image_size + 2 * MARGIN)
    return contact_sheet(heading, groups, columns=N_COLUMNS, tile_px=image_size, n_lines=1, width=width)


def _write(dataset: PackedDataset, name: str, sources: Sequence[PackedSource], what: str) -> None:
    sheet = draw_sheet(sources, dataset.image_size, f"{dataset.name}: {what}")
    with open_atomic(dataset.path / name) as file:
        sheet.save(file, "PNG", optimize=True)


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
