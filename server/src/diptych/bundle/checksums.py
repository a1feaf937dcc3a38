"""Compares the files of a bundle with the sizes and sha256 that its manifest lists."""

import hashlib
from pathlib import Path
from stat import S_ISLNK

from diptych.bundle.schema import FILE_NAME, MANIFEST_FILE, FileEntry
from diptych.durable import fsync_file
from diptych.errors import CorruptBundle, PublishFailed


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Size and sha256 of every file by name, sorted; each file is synced to disk.

    Raises PublishFailed for anything that is not a regular file with a plain name.
    """
    entries = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST_FILE:
            raise PublishFailed(f"{MANIFEST_FILE} is written by publishing, which would replace a staged one")
        if path.is_symlink() or not path.is_file() or not FILE_NAME.fullmatch(path.name):
            raise PublishFailed(f"{path.name!r} in a bundle must be a regular file with a plain name")
        fsync_file(path)
        entries[path.name] = _describe(path)
    return entries


def check_files(folder: Path, expected: dict[str, FileEntry]) -> None:
    """Read every byte of the listed files.

    Raises CorruptBundle for a missing, changed or unlisted file, or a link.
    """
    label = _refuse_unlisted(folder, expected)
    for name, entry in expected.items():
        _check_size(folder / name, entry, f"{label}/{name}")
        _check_sha256(folder / name, entry, f"{label}/{name}")


def check_sizes(folder: Path, expected: dict[str, FileEntry]) -> None:
    """Look whether all listed files are there in full, without reading them.

    Raises CorruptBundle for a missing, incomplete or unlisted file, or a link.
    """
    label = _refuse_unlisted(folder, expected)
    for name, entry in expected.items():
        _check_size(folder / name, entry, f"{label}/{name}")


def _refuse_unlisted(folder: Path, expected: dict[str, FileEntry]) -> str:
    """The bundle's name in messages. Raises CorruptBundle for a file that is not listed."""
    label = f"{folder.parent.name}/{folder.name}"
    try:
        unlisted = sorted({path.name for path in folder.iterdir()} - set(expected) - {MANIFEST_FILE})
    except OSError as error:
        raise CorruptBundle(f"{label}: cannot be read: {error.strerror}") from error
    if unlisted:
        raise CorruptBundle(f"{label}/{unlisted[0]}: not listed in {MANIFEST_FILE}")
    return label


def _check_size(path: Path, expected: FileEntry, label: str) -> None:
    try:
        found = path.lstat()
    except OSError as error:
        raise CorruptBundle(f"{label}: cannot be read: {error.strerror}") from error
    if S_ISLNK(found.st_mode):
        raise CorruptBundle(f"{label}: is a link")
    if found.st_size != expected.bytes:
        raise CorruptBundle(f"{label}: has {found.st_size} bytes, the manifest says {expected.bytes}")


def _check_sha256(path: Path, expected: FileEntry, label: str) -> None:
    try:
        found = _describe(path)
    except OSError as error:
        raise CorruptBundle(f"{label}: cannot be read: {error.strerror}") from error
    if found.sha256 != expected.sha256:
        raise CorruptBundle(f"{label}: sha256 is {found.sha256}, the manifest says {expected.sha256}")


def _describe(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=digest, bytes=file.tell())
