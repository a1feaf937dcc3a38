"""One short hash of source files, so that what was made or measured with others is told apart."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

LEFT_OUT = {"__pycache__"}  # and packages' own notes of how they were installed
N_DIGITS = 12


def sources_hash(places: Iterable[Path], *also: str) -> str:
    """Of the names and contents of these files, and of all below these folders; and of words beside them."""
    found = hashlib.sha256()
    for place in places:
        for file in [place] if place.is_file() else sorted(_files(place)):
            _add(found, str(file.relative_to(place.parent)).encode(), file.read_bytes())
    _add(found, *(word.encode() for word in also))
    return found.hexdigest()[:N_DIGITS]


def _add(found: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)


def _files(folder: Path) -> Iterable[Path]:
    for file in folder.rglob("*"):
        names = file.relative_to(folder).parts
        if file.is_file() and not LEFT_OUT.intersection(names) and ".egg-info" not in str(file):
            yield file
