"""Pack one icon set, part of it held out: what a model is fine-tuned on, and judged by.

Knows nothing of models.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from diptych_training.data.hashed import place_of
from diptych_training.data.packed import (
    INDEX_FILE,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.pictograms.build import IMAGE_SIZE
from diptych_training.data.pictograms.drawing import Drawing
from diptych_training.data.pictograms.icon_set import IconSet
from diptych_training.data.pictograms.icons import hyphenated_words, icon_drawings
from diptych_training.data.pictograms.joined_words import JoinedWords
from diptych_training.data.pictograms.pool import RenderPool
from diptych_training.errors import DataError
from diptych_training.files import write_text
from diptych_training.progress import progress_bar

HELD_OUT: dict[Split, float] = {"validation": 0.1, "eval": 0.2}  # shares; training has the rest
SPLITS: tuple[Split, ...] = ("train", "validation", "eval")
Kept = list[tuple[PackedItem, np.ndarray]]


def build_icon_set(icons: IconSet, out: Path, licence: str, author: str) -> PackedDataset:
    """Write the data set, named after the set. DataError if `out` holds another, or a part stays empty."""
    if (out / INDEX_FILE).exists() and read_dataset(out).name != icons.prefix:
        raise DataError(f"{out} holds {read_dataset(out).name!r}, not {icons.prefix!r}: choose another --out")
    parts = _rendered(icons)
    empty = [split for split in SPLITS if not parts[split]]
    if empty:
        n = sum(map(len, parts.values()))
        raise DataError(f"{icons.prefix}: {n} icons are too few, nothing is left for {' and '.join(empty)}")
    entries = {}
    for split, kept in parts.items():
        name = f"{icons.prefix}-{split}"
        images = np.stack([pixels for _, pixels in kept])  # (N, S, S, 3)
        items = [item for item, _ in kept]
        write_source(out, split, name, images, items)
        digest = hashlib.sha256(images.tobytes() + repr(items).encode()).hexdigest()
        entries[name] = SourceEntry(split, "icons", len(items), licence, author, digest)
    dataset = PackedDataset(out, icons.prefix, IMAGE_SIZE, entries)
    write_text(out / "CARD.md", _card(dataset, licence, author))
    write_index(dataset)
    return dataset


def split_of(label: str) -> Split:
    """The part that a label's drawing belongs to: the same in every build, whatever else is in the set."""
    at = place_of(label)
    for split, share in HELD_OUT.items():
        if at < share:
            return split
        at -= share
    return "train"


def _rendered(icons: IconSet) -> dict[Split, Kept]:
    drawings: list[Drawing] = icon_drawings(icons, JoinedWords(hyphenated_words(icons)))
    parts: dict[Split, Kept] = {split: [] for split in SPLITS}
    with (
        RenderPool(IMAGE_SIZE, os.cpu_count() or 1) as pool,
        progress_bar(total=len(drawings), desc=icons.prefix, unit="image") as bar,
    ):
        for drawing, outcome in zip(drawings, pool.render(drawings, bar.update), strict=True):
            if not isinstance(outcome, str):
                parts[split_of(drawing.item.label)].append((drawing.item, outcome))
    return parts


def _card(dataset: PackedDataset, licence: str, author: str) -> str:
    rows = "\n".join(f"| {entry.split} | {entry.n:,} |" for entry in dataset.entries.values())
    size = f"{dataset.image_size} x {dataset.image_size} pixels"
    return (
        f"# {dataset.name}\n\nIcons with their names, {size}, by {author}; "
        f"licence: {licence}.\n\n| part | images |\n|---|---:|\n{rows}\n"
    )
