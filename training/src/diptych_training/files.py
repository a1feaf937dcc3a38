"""Atomic file replacement and advisory file locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from diptych.errors import DiptychError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file that replaces `path` if the block succeeds: synced, then
    renamed.

    The file keeps its permissions, those of any new file, even if the block replaces it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch()
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)
        _sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` if the block succeeds: written, synced, then renamed."""
    with atomic_path(path) as part, part.open("wb") as file:
        yield file


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


def _sync(path: Path) -> None:
    """Sync a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
