"""`diptych-train data pictograms`: build the pictograms data set."""

import argparse
import os
from pathlib import Path
from typing import get_args

from diptych_training.data.packed import PackedDataset, Split
from diptych_training.data.pictograms.build import Builder
from diptych_training.data.pictograms.card import write_card
from diptych_training.data.pictograms.contact_sheet import write_contact_sheets
from diptych_training.data.pictograms.lists import package_versions, source_specs
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.data.pictograms.sources import Sources
from diptych_training.paths import cache_dir, data_dir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `pictograms` to the commands of `data`."""
    parser = subparsers.add_parser(
        "pictograms",
        help="build the data set of emoji and icons with their names, from npm packages",
        description="Build the pictograms data set: fetch about 280 MB of npm packages, and render 155,000 "
        "drawings in a few minutes. Repeat the command to continue a build that was stopped.",
    )
    parser.add_argument(
        "--out", type=Path, default=data_dir(), metavar="DIR", help="folder of the data set (DIPTYCH_DATA)"
    )
    parser.add_argument("--only", choices=get_args(Split), help="build this split only")
    parser.add_argument("--jobs", type=_positive, default=os.cpu_count() or 1, help="processes that render")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build, write the card and the contact sheets, and print a summary."""
    npm = NpmCache(cache_dir() / "npm", package_versions())
    dataset = Builder(args.out, Sources(npm), args.jobs).build(source_specs(args.only))
    write_card(dataset)
    write_contact_sheets(dataset)
    print(_summary(dataset))
    return 0


def _summary(dataset: PackedDataset) -> str:
    lines = [f"pictograms, {dataset.image_size} px, in {dataset.path}"]
    for split in get_args(Split):
        entries = [entry for entry in dataset.entries.values() if entry.split == split]
        n_images, n_drops = sum(e.n for e in entries), sum(sum(e.drops.values()) for e in entries)
        lines.append(f"  {split:<11}{n_images:>8,} images of {len(entries)} sources, {n_drops:,} dropped")
    return "\n".join(lines)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number
