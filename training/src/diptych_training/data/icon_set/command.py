"""`diptych-train data icon-set`: one icon set, to teach it to a model. Knows nothing of how it is packed."""

import argparse
from pathlib import Path

from diptych_training.data.icon_set_dataset import build_icon_set
from diptych_training.data.pictograms.icon_set import IconSet, read_icon_set
from diptych_training.data.pictograms.lists import ICONS_PACKAGE, package_versions
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.errors import DataError
from diptych_training.files import sole_owner
from diptych_training.paths import cache_dir


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `icon-set` to the commands of `data`."""
    parser = subparsers.add_parser(
        "icon-set",
        help="one icon set, to teach it to a model",
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
    parser.add_argument("--author", default="unknown", help="whom to attribute the art to")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render, split and write; says what is there."""
    icons = _open(args.set)
    with sole_owner(args.out / ".lock", DataError(f"another build is writing to {args.out}")):
        dataset = build_icon_set(icons, args.out, args.licence, args.author)
    sizes = ", ".join(f"{entry.n:,} {entry.split}" for entry in dataset.entries.values())
    print(f"{dataset.name}, {dataset.image_size} px, in {dataset.path}: {sizes}")
    return 0


def _open(given: str) -> IconSet:
    if given.endswith(".json"):
        return read_icon_set(Path(given))
    folder = NpmCache(cache_dir() / "npm", package_versions()).folder(ICONS_PACKAGE, "json/") / "json"
    if not (folder / f"{given}.json").is_file():
        raise DataError(f"{given!r} is no file that ends in .json, and no set of {ICONS_PACKAGE}")
    return read_icon_set(folder / f"{given}.json")
