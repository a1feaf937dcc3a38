"""Files of users, atomic file replacement, advisory file locks, and arrays of a cache."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DiptychError
from diptych_training.errors import DataError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a used quota, a file above the limit
NUMPY_WROTE_LESS = re.compile("[0-9]+ requested and [0-9]+ written")  # numpy's error has no number


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; DataError for a device, which may never end, or a pipe, which may never begin.

    The open file is looked at, since its name may stand for another one a moment later.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DataError(f"{path}: is not a regular file")
    return os.fdopen(handle, "rb")


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Name this file or folder in an error of a disk without space that names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None and NUMPY_WROTE_LESS.search(str(error)):
            raise OSError(errno.EIO, f"could not be written: {error}", str(path)) from error
        if error.errno in NO_SPACE and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield the path of an empty temporary file that replaces `path` if the block succeeds: synced, then
    renamed.

    The file keeps its permissions, those of any new file, even if the block replaces it. `private`: only this
    user can open it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with naming_full_disk(path):
            part.unlink(missing_ok=True)  # of a process that was killed, it has other permissions
            part.touch(mode=0o600 if private else 0o666)
            mode = part.stat().st_mode
            yield part
            part.chmod(mode)
            _sync(part)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def open_atomic(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` if the block succeeds: written, synced, then renamed.

    `private`: see `atomic_path`.
    """
    with atomic_path(path, private=private) as part, part.open("wb") as file:
        yield file


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user can open, or make an existing one so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by this UTF-8 text, atomically."""
    with open_atomic(path) as file:
        file.write(text.encode())


@contextmanager
def exclusive_lock(lock_file: Path, refusal: DiptychError) -> Iterator[None]:
    """Hold an advisory lock for the block; raise `refusal` if another process holds it.

    The lock file is not removed: otherwise two processes could lock two different files.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        yield


@contextmanager
def file_lock(lock_file: Path) -> Iterator[None]:
    """Wait for an advisory lock and hold it for the block. The lock file is not removed."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_array(file: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any] | None:
    """The array of a cached .npy file; None if there is none, or if it is damaged or has another array."""
    try:
        found: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == dtype else None


def _sync(path: Path) -> None:
    """Sync a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
