"""Download npm packages with the installed npm client, and read their files."""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diptych_training.errors import DataError

UNPACKED_MARK = ".complete"


class NpmCache:
    """Packages in one folder, each downloaded once: `<root>/<package>-<version>/package/...`."""

    def __init__(self, root: Path, versions: dict[str, str]) -> None:
        self._root = root
        self._versions = versions

    def folder(self, package: str, *prefixes: str) -> Path:
        """The unpacked package, downloaded if necessary; only files below `prefixes`, if any.

        Raises DataError if npm is missing or does not deliver the package.
        """
        version = self._versions[package]
        home = self._root / f"{package.strip('@').replace('/', '-')}-{version}"
        if not (home / UNPACKED_MARK).exists():
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._root, prefix=".fetch-") as scratch:
                unpacked = Path(scratch) / "unpacked"
                _unpack(_pack(f"{package}@{version}", Path(scratch)), unpacked, prefixes)
                (unpacked / UNPACKED_MARK).touch()
                shutil.rmtree(
                    home, ignore_errors=True
                )  # one without the mark: begun by hand, or half deleted
                unpacked.rename(home)
        return home / "package"


def _pack(spec: str, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            "npm is not on the PATH: install Node.js with npm, which downloads the packages with the drawings"
        )
    tqdm.write(f"fetching {spec} with npm", file=sys.stderr)
    command = [npm, "pack", spec, "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603
    if done.returncode:
        raise DataError(f"npm could not download {spec}: {_reason(done.stderr)}")
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise DataError(f"npm pack {spec} left {len(archives)} archives, 1 was expected")
    return archives[0]


def _unpack(archive: Path, folder: Path, prefixes: tuple[str, ...]) -> None:
    """Unpack regular files only; the `data` filter rejects paths outside the folder."""
    wanted = tuple(f"package/{prefix}" for prefix in prefixes) or ("package/",)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = (m for m in tar if m.isfile() and m.name.startswith(wanted))
            tar.extractall(folder, members, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive.name} cannot be unpacked: {error}") from None
    if not (folder / "package").is_dir():
        raise DataError(f"{archive.name} has no files below {', '.join(wanted)}")


def _reason(stderr: str) -> str:
    """The line in which npm names its error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["npm gave no reason"]
    return next((line for line in lines if "npm err" in line.lower()), lines[0])


def read_json(file: Path) -> Any:
    """Read a package's JSON file. DataError if it is missing or malformed."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file.name} is missing from the package in {file.parent}") from None
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from None
