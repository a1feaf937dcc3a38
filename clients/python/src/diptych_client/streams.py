"""Bodies that are read from disk while they are sent: one file, or several as a tar archive."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from diptych_client.errors import UnreadableFile
from diptych_client.files import open_regular

FILE_CHUNK = 262_144
TAR_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class BodyStream:
    """A body of `n_bytes`, in chunks that are read when they are asked for.

    The chunks raise UnreadableFile if a file cannot be read any more, or became shorter.
    """

    n_bytes: int
    chunks: Iterator[bytes]


@contextmanager
def file_body(file: Path) -> Iterator[BodyStream]:
    """Open a file as a body. Raises UnreadableFile."""
    with _opened(file) as (opened, n_bytes):
        yield BodyStream(n_bytes, _read(file, opened, n_bytes))


@contextmanager
def tar_body(files: Sequence[Path]) -> Iterator[BodyStream]:
    """Make a tar archive of files by their names, without their folders. Raises UnreadableFile.

    The sizes are those of now; each file is opened when its turn comes.
    """
    headers = [_header(file) for file in files]
    n_bytes = sum(len(head) + size + _padding(size) for head, size in headers) + len(TAR_END)

    def chunks() -> Iterator[bytes]:
        for file, (head, size) in zip(files, headers, strict=True):
            yield head
            with _opened(file) as (opened, _):
                yield from _read(file, opened, size)
            if padding := _padding(size):
                yield bytes(padding)
        yield TAR_END

    yield BodyStream(n_bytes, chunks())


def _header(file: Path) -> tuple[bytes, int]:
    """The header of a file in an archive, and the size of the file."""
    with _opened(file) as (_, n_bytes):
        info = tarfile.TarInfo(file.name)
    info.size, info.mode = n_bytes, 0o644
    return info.tobuf(tarfile.PAX_FORMAT), n_bytes


def _padding(n_bytes: int) -> int:
    return -n_bytes % tarfile.BLOCKSIZE


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The open file and its size."""
    with open_regular(file) as opened:
        yield opened, os.fstat(opened.fileno()).st_size


def _read(file: Path, opened: BinaryIO, n_bytes: int) -> Iterator[bytes]:
    """The first `n_bytes` of an open file."""
    n_left = n_bytes
    while n_left:
        try:
            chunk = opened.read(min(FILE_CHUNK, n_left))
        except OSError as error:
            raise UnreadableFile(f"{file}: {error.strerror or error}") from error
        if not chunk:
            raise UnreadableFile(f"{file}: became shorter while it was sent, {n_left} bytes are missing")
        n_left -= len(chunk)
        yield chunk
