"""Open and read files that a user names: regular files only, up to a limit."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from diptych_client.errors import FileTooLarge, UnreadableFile

# Opening a pipe would wait for its writer. Windows has other flags.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file. Raises UnreadableFile for what cannot be opened, and for devices and pipes.

    The open file is looked at, since its name may stand for another one a moment later.
    """
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror or error}") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise UnreadableFile(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")
    return os.fdopen(handle, "rb")


def read_file(path: Path, max_bytes: int) -> bytes | UnreadableFile:
    """Return the bytes of a regular file, or the error, so that a batch can go on without this file."""
    try:
        with open_regular(path) as file:
            content: bytes | None = file.read(max_bytes + 1)
            if content is None:  # a file of the kernel that has nothing to read now
                return UnreadableFile(f"{path}: has no data")
            n_bytes = max(len(content), os.fstat(file.fileno()).st_size)
    except UnreadableFile as error:
        return error
    except OSError as error:
        return UnreadableFile(f"{path}: {error.strerror or error}")
    if n_bytes > max_bytes:
        return FileTooLarge(f"{path}: has {n_bytes} bytes, limit is {max_bytes}")
    return content
