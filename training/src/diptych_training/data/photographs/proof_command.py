"""`diptych-train data proof-photographs`: fetch the photographs that proof sets are made of."""

import argparse
from collections.abc import Mapping
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from diptych_training.data.colour_grid import GRID, Rows, colour_grids
from diptych_training.data.debian import read_file, unpacked
from diptych_training.data.photographs.listed import (
    COMMAND,
    ListedPhotograph,
    listed_photographs,
    photograph_file,
    proof_folder,
    read_photograph,
    require_listed,
)
from diptych_training.errors import DataError
from diptych_training.files import open_atomic

NAME = COMMAND.rpartition(" ")[2]
SIDE_PX = 4 * GRID
NEAR = 0.95  # cosine of two grids of colours, as in `data near-duplicates`


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flag."""
    packages = ", ".join(sorted({one.package for one in _fetched()}))
    parser = subparsers.add_parser(
        NAME,
        help="fetch the openly licensed photographs of proof sets, from Debian packages",
        description=f"Fetches {packages} (135 MB in all) with apt-get and keeps the listed photographs, each "
        "with the sha256 of the list. Packages whose photographs are all here are not fetched again.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=proof_folder(),
        metavar="DIR",
        help="default: $DIPTYCH_CACHE/photographs/proof",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing, check that the splits are apart, and print how many photographs each has."""
    fetch_photographs(args.out)
    contents = {one: read_photograph(one, args.out) for one in _shared()}
    require_apart(contents)
    for split in ("proof", "rehearsal"):
        print(f"{split}: {sum(one.split == split for one in contents)} photographs")
    return 0


def fetch_photographs(folder: Path) -> None:
    """Write the listed photographs of Debian's packages that `folder` lacks.

    Raises DataError with the reason of apt-get, or if a package has another photograph than the listed one.
    """
    lacking = sorted(
        (one for one in _fetched() if not _is_here(one, folder)), key=lambda one: (one.package, one.file)
    )
    for package, photographs in groupby(lacking, key=lambda one: one.package):
        with unpacked(package) as where:
            for one in photographs:
                content = read_file(package, where / one.path)
                require_listed(one, content, f"another version of {package}?")
                with open_atomic(photograph_file(one, folder)) as file:
                    file.write(content)


def require_apart(contents: Mapping[ListedPhotograph, bytes]) -> None:
    """Raise DataError if photographs of two splits nearly equal each other."""
    listed, rows = list(contents), np.concatenate([_grid(content) for content in contents.values()])
    for first, second in np.argwhere(np.triu(rows @ rows.T, k=1) >= NEAR):
        one, other = listed[first], listed[second]
        if one.split != other.split:
            raise DataError(
                f"{one.file} ({one.split}) and {other.file} ({other.split}) nearly equal each other: "
                "put both into one split"
            )


def _grid(content: bytes) -> Rows:
    with Image.open(BytesIO(content)) as opened:
        image = on_white(opened).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return colour_grids(np.asarray(image)[None])


def on_white(image: Image.Image) -> Image.Image:
    """An RGB picture on white."""
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def _shared() -> list[ListedPhotograph]:
    return [one for one in listed_photographs() if one.is_shared]


def _fetched() -> list[ListedPhotograph]:
    return [one for one in _shared() if not one.is_installed]


def _is_here(listed: ListedPhotograph, folder: Path) -> bool:
    try:
        read_photograph(listed, folder)
    except DataError:
        return False
    return True
