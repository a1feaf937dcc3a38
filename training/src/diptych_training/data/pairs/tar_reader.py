"""Read a tar archive from its start to its end, once; knows nothing of what its files mean.

The standard library's reader ends in silence where an archive is cut off or damaged between two files, and
keeps an entry for every file it has passed. This one says what is wrong and keeps nothing.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from diptych_training.data.pairs.streamed import can_seek, read_up_to

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1_000_000  # of a long name or of extended attributes
CHUNK = 1 << 20
REGULAR = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
WITHOUT_CONTENT = frozenset(
    {tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE}
)


class DamagedTar(Exception):
    """The archive cannot be read further; says why, and at which byte."""


@dataclass(frozen=True)
class Member:
    """A regular file of the archive."""

    name: str
    size: int


class TarReader:
    """Iterates over the regular files; `content` reads the one that was given last. Never seeks back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0  # of what was read or passed over
        self._next_header = 0
        self._size = 0
        self._can_seek = can_seek(file)

    def __iter__(self) -> Iterator[Member]:
        """Members in order. DamagedTar where the archive is cut off, or a header is wrong."""
        name: str | None = None
        size: int | None = None
        while (header := self._header()) is not None:
            match header.type:
                case tarfile.XHDTYPE:
                    name, size = _extended(self._small(header), name, size)
                case tarfile.GNUTYPE_LONGNAME:
                    name = _text(self._small(header).rstrip(b"\0"))
                case kind if kind in REGULAR and not header.name.endswith("/"):
                    self._expect(header.size if size is None else size)
                    yield Member(name or header.name, self._size)
                    name = size = None
                case kind if kind in WITHOUT_CONTENT or kind in REGULAR:
                    self._expect(0)
                    name = size = None
                case tarfile.GNUTYPE_SPARSE:
                    raise DamagedTar(f"holds a sparse file at byte {self._offset - BLOCK}")
                case _:  # attributes for all files, link names, what others invented
                    self._expect(header.size)

    def content(self) -> bytes:
        """The bytes of the member that was given last; once."""
        return self._exactly(self._size)

    def _header(self) -> tarfile.TarInfo | None:
        """The next header, or None at the mark of the archive's end."""
        self._pass_to(self._next_header)
        at = self._offset
        block = self._read(BLOCK)
        if len(block) < BLOCK:
            raise DamagedTar(f"is cut off at byte {self._offset}: it has no end")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        except tarfile.HeaderError as error:
            raise DamagedTar(f"has no good header at byte {at}: {error}") from None
        if header.size < 0:
            raise DamagedTar(f"states a size of {header.size} at byte {at}")
        return header

    def _small(self, header: tarfile.TarInfo) -> bytes:
        self._expect(header.size)
        if header.size > MAX_HEADER_BYTES:
            raise DamagedTar(
                f"has a header of {header.size} bytes at byte {self._offset - BLOCK}, "
                f"limit is {MAX_HEADER_BYTES}"
            )
        return self._exactly(header.size)

    def _expect(self, size: int) -> None:
        self._size = size
        self._next_header = self._offset + -(-size // BLOCK) * BLOCK

    def _exactly(self, size: int) -> bytes:
        at = self._offset
        payload = self._read(size)
        if len(payload) < size:
            raise DamagedTar(f"is cut off at byte {at + len(payload)}, {size - len(payload)} bytes early")
        return payload

    def _read(self, size: int) -> bytes:
        payload = read_up_to(self._file, size)
        self._offset += len(payload)
        return payload

    def _pass_to(self, offset: int) -> None:
        if self._can_seek and offset - self._offset > BLOCK:
            self._file.seek(offset)  # past the end it would not say so: the next read does
            self._offset = offset
        while self._offset < offset:
            self._exactly(min(CHUNK, offset - self._offset))


def _extended(payload: bytes, name: str | None, size: int | None) -> tuple[str | None, int | None]:
    """Name and size by POSIX.1-2001 attributes: records of ``length key=value newline``."""
    while payload.strip(b"\0"):
        length, _, rest = payload.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(payload):
            raise DamagedTar("has extended attributes that are malformed")
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        if key == b"path":
            name = _text(value)
        if key == b"size" and value.isdigit():
            size = int(value)
        payload = payload[int(length) :]
    return name, size


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
