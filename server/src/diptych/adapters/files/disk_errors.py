"""Translates errors of the operating system into ours: full disk, read-only disk, other."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreError, StoreFull, StoreReadOnly

_KINDS = {errno.ENOSPC: StoreFull, errno.EDQUOT: StoreFull, errno.EROFS: StoreReadOnly}


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
            raise StoreReadOnly(f"{what}: the data folder is on a disk that is read-only") from error
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
