"""Read files forward, as a server sends them.

For a web server that states no length, fsspec's files return what has arrived, and wrongly claim to be
seekable.
"""

from typing import BinaryIO

from diptych.errors import Malformed

CHUNK = 1 << 20


class MonitoredFile:
    """Wraps a file; `has_failed` separates failures of the file from errors of its decoder."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.has_failed = False

    def read(self, n_bytes: int = -1) -> bytes:
        """Read as a file does."""
        try:
            return self._file.read(n_bytes)
        except Exception:
            self.has_failed = True
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek as a file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell as a file does."""
        return self._file.tell()

    def close(self) -> None:
        """Do nothing: the caller that opened the file closes it."""


def read_up_to(file: BinaryIO, n_bytes: int) -> bytes:
    """The next `n_bytes`, in as many reads as needed; fewer only at the file's end."""
    parts: list[bytes] = []
    while n_bytes > 0 and (part := file.read(n_bytes)):
        parts.append(part)
        n_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def can_seek(file: BinaryIO) -> bool:
    """True if any part of the file can be read; False if its size is unknown, whatever it claims."""
    return file.seekable() and getattr(file, "size", 0) is not None


class ForwardReader:
    """Reads an archive at increasing offsets, and skips what lies between."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._can_seek = can_seek(file)

    def __call__(self, offset: int, n_bytes: int) -> bytes:
        """Read up to `n_bytes` at `offset`, fewer at the end. Malformed if the archive ends before it."""
        if self._can_seek and offset > self._offset:
            self._file.seek(offset)  # past the end it does not fail: the next read does
            self._offset = offset
        while self._offset < offset:
            self.exactly(self._offset, min(CHUNK, offset - self._offset))
        content = read_up_to(self._file, n_bytes)
        self._offset += len(content)
        return content

    def exactly(self, offset: int, n_bytes: int) -> bytes:
        """Read `n_bytes` at `offset`. Malformed if the archive has fewer."""
        content = self(offset, n_bytes)
        if len(content) < n_bytes:
            raise Malformed(
                f"the archive is cut off at byte {self._offset}, {n_bytes - len(content)} bytes early"
            )
        return content
