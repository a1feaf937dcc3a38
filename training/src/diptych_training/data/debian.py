"""Packages of Debian: fetched with `apt-get` and unpacked, without installing them."""

import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from diptych_training.errors import DataError


def add_deb_flag(parser: ArgumentParser, package: str) -> None:
    """Add `--deb`, for a package that need not be fetched."""
    parser.add_argument(
        "--deb", type=Path, metavar="FILE", help=f"the package {package}, if it is here; apt-get fetches it"
    )


@contextmanager
def unpacked(package: str, deb: Path | None = None) -> Iterator[Path]:
    """Unpack a package, from the file `deb` or fetched, into a folder that lasts for the block.

    Raises DataError with the reason of Debian's program.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "unpacked"
        file = _fetch(package, Path(scratch)) if deb is None else deb
        _call("dpkg-deb", "-x", str(file.resolve()), str(folder), where=Path(scratch))
        yield folder


def read_file(package: str, file: Path) -> bytes:
    """Read a file of an unpacked package. Raises DataError if it is missing."""
    if not file.is_file():
        raise DataError(f"{package} has no {file.name}: another version of the package?")
    return file.read_bytes()


def _fetch(package: str, folder: Path) -> Path:
    tqdm.write(f"fetching {package} with apt-get", file=sys.stderr)
    _call("apt-get", "download", package, where=folder)
    return next(folder.glob("*.deb"))


def _call(program: str, *arguments: str, where: Path) -> None:
    """Run a program of Debian. DataError if it is missing or fails."""
    found = shutil.which(program)
    if found is None:
        raise DataError(f"{program} is not on the PATH: the data come from a package of Debian")
    done = subprocess.run(  # noqa: S603
        [found, *arguments], capture_output=True, text=True, check=False, cwd=where
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise DataError(f"{program} {' '.join(arguments)}: {lines[-1]}")
