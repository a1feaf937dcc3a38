"""`diptych-train data icon-set`: pack one icon set, part of it held out, to fine-tune and evaluate on."""

import argparse
import hashlib
import os
from pathlib import Path

import numpy as np

from diptych_training.data.packed import (
    INDEX_FILE,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    hash_fraction,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.pictograms.build import IMAGE_SIZE
from diptych_training.data.pictograms.icon_names import WordSplitter
from diptych_training.data.pictograms.icon_set import IconSet, read_icon_set
from diptych_training.data.pictograms.icons import hyphenated_words, icon_drawings
from diptych_training.data.pictograms.lists import ICONS_PACKAGE, package_versions
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.data.pictograms.pool import RenderPool
from diptych_training.data.pictograms.render import Drawing
from diptych_training.errors import DataError
from diptych_training.files import exclusive_lock, write_text
from diptych_training.paths import cache_dir
from diptych_training.progress import progress_bar

HELD_OUT: dict[Split, float] = {"validation": 0.1, "eval": 0.2}  # shares; training has the rest
SPLITS: tuple[Split, ...] = ("train", "validation", "eval")
Kept = list[tuple[PackedItem, np.ndarray]]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `icon-set` to the commands of `data`."""
    parser = subparsers.add_parser(
        "icon-set",
        help="pack one icon set to fine-tune a model on",
        description="Pack one icon set: a tenth of its icons for validation, a fifth for evaluation, by a "
        "hash of their names; the rest is for training.",
    )
    parser.add_argument(
        "set",
        metavar="SET",
        help=f"an IconifyJSON file, or the name of a set of {ICONS_PACKAGE} such as dinkie-icons",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("--licence", default="unknown", help="SPDX identifier of the art's licence")
    parser.add_argument("--author", default="unknown", help="author of the art, for attribution")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render, split and write the set, and print a summary."""
    icons = _open(args.set)
    with exclusive_lock(args.out / ".lock", DataError(f"another build is writing to {args.out}")):
        dataset = build_icon_set(icons, args.out, args.licence, args.author)
    sizes = ", ".join(f"{entry.n:,} {entry.split}" for entry in dataset.entries.values())
    print(f"{dataset.name}, {dataset.image_size} px, in {dataset.path}: {sizes}")
    return 0


def _open(given: str) -> IconSet:
    if given.endswith(".json"):
        return read_icon_set(Path(given))
    folder = NpmCache(cache_dir() / "npm", package_versions()).folder(ICONS_PACKAGE, "json/") / "json"
    if not (folder / f"{given}.json").is_file():
        raise DataError(f"{given!r} is neither a file that ends in .json nor a set of {ICONS_PACKAGE}")
    return read_icon_set(folder / f"{given}.json")


def build_icon_set(icons: IconSet, out: Path, licence: str, author: str) -> PackedDataset:
    """Write the data set, named after the set. DataError if `out` holds another, or a part stays empty."""
    if (out / INDEX_FILE).exists() and read_dataset(out).name != icons.prefix:
        raise DataError(f"{out} holds {read_dataset(out).name!r}, not {icons.prefix!r}: choose another --out")
    parts = _rendered(icons)
    empty = [split for split in SPLITS if not parts[split]]
    if empty:
        n = sum(map(len, parts.values()))
        raise DataError(f"{icons.prefix}: {n} icons are too few: no icon is left for {' and '.join(empty)}")
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
    at = hash_fraction(label)
    for split, share in HELD_OUT.items():
        if at < share:
            return split
        at -= share
    return "train"


def _rendered(icons: IconSet) -> dict[Split, Kept]:
    drawings: list[Drawing] = icon_drawings(icons, WordSplitter(hyphenated_words(icons)))
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
