"""Write a person's pairs as a packed data set with a held-out part, and a sample of them as one PNG."""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from PIL import Image

from diptych_training.data.packed import (
    Images,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    hash_fraction,
    write_index,
    write_source,
)
from diptych_training.data.pairs.packing import packed_entry, source_name, write_card
from diptych_training.files import open_atomic
from diptych_training.refresh.evaluation.picture_set import fold_source
from diptych_training.refresh.pairs.gather import Gathered
from diptych_training.reports.pictures import PALE, Cell, Line, contact_sheet, first_within

OWN = "own"  # the data set's name, and its folder
PACKED_BY = "diptych-train refresh"
SHEET_FILE = "contact-sheet.png"
COLUMNS, TILE = 7, 124  # the side of a tile in pixels
ROWS = (6, 4, 3, 2, 1, 0)  # tried in this order until the sheet is small enough
COLOURS = (256, 64)


def write_own(
    folder: Path,
    gathered: Gathered,
    held: Sequence[int] = (),
    folds: Sequence[int] = (),
    *,
    licence: str,
    author: str,
) -> None:
    """Replace the data set OWN in a folder: split `validation` of the pairs at `held`, `train` of the rest.

    Without held-out pairs there is no split `validation`. With `folds`, the number of each pair's, the
    training pairs of each fold are a source of their own.
    """
    own = folder / OWN
    shutil.rmtree(own, ignore_errors=True)
    parts: dict[tuple[Split, str], list[int]] = defaultdict(list)
    out = set(held)
    for index in range(len(gathered.items)):
        split: Split = "validation" if index in out else "train"
        parts[split, fold_source(folds[index]) if folds else source_name(split)].append(index)
    drops = {"unusable": sum(map(len, gathered.unusable.values())), "the same picture": len(gathered.same)}
    entries: dict[str, SourceEntry] = {}
    for (split, name), chosen in sorted(parts.items()):
        images, items = gathered.images[chosen], [gathered.items[index] for index in chosen]
        write_source(own, split, name, images, items)
        entries[name] = packed_entry(
            split, images, items, drops={} if entries else drops, licence=licence, author=author
        )
    dataset = PackedDataset(own, OWN, gathered.images.shape[1], entries)
    write_card(dataset, PACKED_BY)
    write_index(dataset)


def write_contact_sheet(folder: Path, images: Images, items: Sequence[PackedItem]) -> None:
    """Write SHEET_FILE, at most `pictures.MAX_BYTES`: as many pictures as fit, of many captions."""
    chosen = _spread(items)[: COLUMNS * ROWS[0]]
    png = first_within(_sheets(images, items, chosen), colours=COLOURS)
    with open_atomic(folder / SHEET_FILE) as file:
        file.write(png)


def _sheets(images: Images, items: Sequence[PackedItem], chosen: Sequence[int]) -> Iterator[Image.Image]:
    needed = -(-len(chosen) // COLUMNS)
    for n_rows in (needed, *(fewer for fewer in ROWS if fewer < needed)):
        shown = chosen[: n_rows * COLUMNS]
        title = f"{len(shown):,} of {len(items):,} pairs, as the model sees them at {images.shape[1]} px"
        cells = [Cell((images[index],), _captions(items[index])) for index in shown]
        yield contact_sheet(title, {"": cells}, columns=COLUMNS, tile_px=TILE, n_lines=2)


def _captions(item: PackedItem) -> tuple[Line, ...]:
    """The label, on two lines if it needs them, else with the first further caption below it."""
    return (Line(item.label, n_lines=2), *(Line(caption, PALE) for caption in item.captions[:1]))


def _spread(items: Sequence[PackedItem]) -> list[int]:
    """All positions: first one of each label, then a second one of each, in a fixed random order."""
    of_label: defaultdict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(items)), key=lambda index: hash_fraction(f"sheet {items[index].id}")):
        of_label[items[index].label].append(index)
    rounds = zip_longest(*of_label.values())
    return [index for some in rounds for index in some if index is not None]
