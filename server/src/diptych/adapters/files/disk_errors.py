"""Translates errors of the operating system into ours: full disk, read-only disk, other."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreError, StoreFull, StoreReadOnly

READ_ONLY = "the data folder is on a disk that is read-only"
_KINDS = {errno.ENOSPC: StoreFull, errno.EDQUOT: StoreFull, errno.EROFS: StoreReadOnly}


def is_read_only(folder: Path) -> bool:
    """Whether the disk of a folder takes no writes, by a write that changes nothing.

    The flags of the file system do not show it: ext4 keeps them when it stops writing after an error.
    """
    try:
        found = folder.stat()
        os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns))
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def require_writable(folder: Path) -> None:
    """Raise StoreReadOnly if the disk of a folder, part of the server's data folder, takes no writes."""
    if is_read_only(folder):
        raise StoreReadOnly(READ_ONLY)


@contextmanager
def file_errors_translated(what: str) -> Iterator[None]:
    """Raise an OSError of the block as StoreFull, StoreReadOnly or StoreError; `what` begins the message.

    For the server's data folder.
    """
    try:
        yield
    except OSError as error:
        kind = _kind(error)
        if kind is StoreFull:
            raise StoreFull(f"{what}: no space is left on the disk of the data folder") from error
        if kind is StoreReadOnly:
            raise StoreReadOnly(READ_ONLY) from error
        raise StoreError(f"{what}: {error.strerror or type(error).__name__}") from error


@contextmanager
def disk_errors_translated(work: str, folder: Path) -> Iterator[None]:
    """Raise an OSError of the block as StoreFull, StoreReadOnly or StoreError; `work` begins the message.

    For commands that write to `folder`: the message names the folder, its free bytes and what to do.
    """
    try:
        yield
    except OSError as error:
        raise _kind(error)(f"{work} failed, {_reason(error, folder)}") from error


def _kind(error: OSError) -> type[StoreError]:
    return _KINDS.get(error.errno or 0, StoreError)


def _reason(error: OSError, folder: Path) -> str:
    if _kind(error) is StoreFull:
        n_free = shutil.disk_usage(folder).free
        return f"no space is left in {folder} ({n_free} bytes free): make room and repeat it"
    named = f"{error.filename}: " if error.filename else ""
    return named + (error.strerror or type(error).__name__)
