"""`diptych-train data photographs`: unpack named photographs to measure models on."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from diptych_training.data.debian import add_deb_flag, read_file, unpacked
from diptych_training.data.photographs.listed import ListedPhotograph, listed_photographs
from diptych_training.data.photographs.qt_resources import read_resources
from diptych_training.errors import DataError
from diptych_training.files import open_atomic, write_text
from diptych_training.paths import cache_dir

PACKAGE = "gcompris-qt-data"
RESOURCES = Path("usr/share/gcompris-qt/rcc")
COPYRIGHT = Path("usr/share/doc") / PACKAGE / "copyright"
INSIDE = "gcompris/src/activities/"  # what all paths in the resource files begin with
ALL, EVERYDAY = "gcompris", "everyday"
TEMPLATE = "a photo of a {}"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `photographs` to the commands of `data`."""
    n_judged = len(listed_photographs("judging"))
    parser = subparsers.add_parser(
        "photographs",
        help="unpack named photographs to measure models on, from a Debian package",
        description=f"Fetches Debian's {PACKAGE} (44 MB) with apt-get and unpacks its photographs as folders "
        f"of classes for `benchmark --on`: {ALL} ({n_judged} photographs by name) and "
        f"{EVERYDAY} (those of ten everyday labels).",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=cache_dir() / "photographs",
        metavar="DIR",
        help="default: $DIPTYCH_CACHE/photographs",
    )
    add_deb_flag(parser, PACKAGE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Unpack, write both folders, and print how to measure on them."""
    with unpacked(PACKAGE, args.deb) as package:
        n_images, n_everyday = write_photographs(package, args.out)
    print(f"{args.out / ALL}: {n_images} photographs\n{args.out / EVERYDAY}: {n_everyday} photographs")
    print(f"diptych-train benchmark MODEL --on {args.out / ALL} --on {args.out / EVERYDAY}")
    return 0


def write_photographs(package: Path, out: Path) -> tuple[int, int]:
    """Write the listed photographs of an unpacked package, by name and by everyday label; how many of each.

    Folders of an earlier call are replaced. DataError if a photograph is missing.
    """
    pictures = list(_pictures(package))
    for folder in (out / ALL, out / EVERYDAY):
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / "templates.txt", f"{TEMPLATE}\n")
        write_text(folder / "COPYRIGHT", read_file(PACKAGE, package / COPYRIGHT).decode("utf-8"))
    for listed, content in pictures:
        _write(out / ALL, listed.name, listed, content)
        if listed.everyday:
            _write(out / EVERYDAY, listed.everyday, listed, content)
    return len(pictures), sum(bool(listed.everyday) for listed, _ in pictures)


def _pictures(package: Path) -> Iterator[tuple[ListedPhotograph, bytes]]:
    opened: dict[str, dict[str, bytes]] = {}
    for listed in listed_photographs("judging"):
        activity = listed.path.partition("/")[0]
        file = package / RESOURCES / f"{activity}.rcc"
        if activity not in opened:
            opened[activity] = read_resources(read_file(PACKAGE, file))
        content = opened[activity].get(INSIDE + listed.path)
        if content is None:
            raise DataError(f"{file.name} of {PACKAGE} has no {listed.path}: another version of the package?")
        yield listed, content


def _write(folder: Path, label: str, listed: ListedPhotograph, content: bytes) -> None:
    with open_atomic(folder / judged_file(listed, label)) as file:
        file.write(content)


def judged_file(listed: ListedPhotograph, label: str) -> Path:
    """Where a folder of classes has a photograph."""
    return Path(label.replace(" ", "_")) / listed.path.replace("/", "-")
