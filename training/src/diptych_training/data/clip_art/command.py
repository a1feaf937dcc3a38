"""`diptych-train data clip-art`: pack clip art in the public domain, a tenth of it held out."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from diptych_training.data.clip_art.names import item_of
from diptych_training.data.clip_art.page import render_page
from diptych_training.data.debian import add_deb_flag, unpacked
from diptych_training.data.packed import (
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    content_of,
    hash_fraction,
    write_index,
    write_source,
)
from diptych_training.data.pairs.tools.flags import positive
from diptych_training.data.pictograms.pool import RenderPool
from diptych_training.data.pictograms.render import Drawing
from diptych_training.errors import DataError
from diptych_training.files import exclusive_lock
from diptych_training.paths import cache_dir
from diptych_training.progress import progress_bar

NAME = "clip-art"
PACKAGE = "openclipart-svg"
LIBRARY = Path("usr/share/openclipart/svg")
LICENCE, AUTHOR = "CC0-1.0", "Open Clip Art Library"
SIZE = 64
HELD_OUT = 0.1  # share of the names
# Geometry, patterns, playing cards, letters, and themes of icons, which are other styles to judge by.
LEFT_OUT = ("shapes", "special", "computer/icons", "recreation/games/cards", "signs_and_symbols/led", "logos")
Kept = dict[tuple[str, Split], list[tuple[PackedItem, np.ndarray]]]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `clip-art` to the commands of `data`."""
    parser = subparsers.add_parser(
        NAME,
        help="pack clip art with its names, from a Debian package",
        description=f"Fetches Debian's {PACKAGE} (25 MB) with apt-get and packs its clip art in the public "
        "domain as two sources, `shaded` (with gradients) and `flat`: a tenth of the names for validation, "
        "the rest for training.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"default: $DIPTYCH_CACHE/{NAME}-SIZE, such as {NAME}-{SIZE}"
    )
    parser.add_argument(
        "--size", type=positive, default=SIZE, metavar="PX", help=f"side of the images (default {SIZE})"
    )
    add_deb_flag(parser, PACKAGE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render and write, and print how many images each source has."""
    out = args.out or cache_dir() / f"{NAME}-{args.size}"
    with (
        exclusive_lock(out / ".lock", DataError(f"another build is writing to {out}")),
        unpacked(PACKAGE, args.deb) as package,
    ):
        dataset = build_clip_art(package, out, args.size)
    sizes = ", ".join(f"{entry.n:,} {name}" for name, entry in dataset.entries.items())
    print(f"{dataset.name}, {dataset.image_size} px, in {dataset.path}: {sizes}")
    return 0


def build_clip_art(package: Path, out: Path, size: int) -> PackedDataset:
    """Write the data set of an unpacked package. DataError if a part stays empty."""
    entries = {}
    for (style, split), kept in _rendered(list(_drawings(package / LIBRARY)), size).items():
        if not kept:
            raise DataError(f"{PACKAGE}: no {style} clip art for {split}: another version of the package?")
        name, items = f"{style}-{split}", [item for item, _ in kept]
        images = np.stack([pixels for _, pixels in kept])  # (N, S, S, 3)
        write_source(out, split, name, images, items)
        entries[name] = SourceEntry(split, "pairs", len(items), LICENCE, AUTHOR, content_of(images, items))
    dataset = PackedDataset(out, NAME, size, entries)
    write_index(dataset)
    return dataset


def style_of(svg: str) -> str:
    """`shaded` for a drawing with gradients, otherwise `flat`."""
    return "shaded" if "url(#" in svg and ("linearGradient" in svg or "radialGradient" in svg) else "flat"


def split_of(label: str) -> Split:
    """The part that all drawings of a name belong to: numbered variants are alike."""
    return "validation" if hash_fraction(label) < HELD_OUT else "train"


def _drawings(library: Path) -> Iterator[Drawing]:
    for file in sorted(library.rglob("*.svg")):
        path = PurePosixPath(file.relative_to(library))
        if not str(path).startswith(tuple(f"{folder}/" for folder in LEFT_OUT)):
            svg = file.read_text(encoding="utf-8", errors="replace")
            item = item_of(path, svg)
            if item is not None:
                yield Drawing(item, svg.encode())


def _rendered(drawings: list[Drawing], size: int) -> Kept:
    splits: tuple[Split, ...] = ("train", "validation")
    parts: Kept = {(style, split): [] for split in splits for style in ("flat", "shaded")}
    with (
        RenderPool(size, os.cpu_count() or 1, render_page) as pool,
        progress_bar(total=len(drawings), desc=NAME, unit="image") as bar,
    ):
        for drawing, outcome in zip(drawings, pool.render(drawings, bar.update), strict=True):
            if not isinstance(outcome, str):
                style = style_of(drawing.payload.decode())
                parts[style, split_of(drawing.item.label)].append((drawing.item, outcome))
    return parts
