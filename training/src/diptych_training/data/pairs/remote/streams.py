"""Read files that a server sends as they come; knows nothing of what is in them.

Of a web server that tells no length, fsspec's files give what has arrived, and say that they can seek.
"""

from typing import BinaryIO

from diptych.errors import Malformed

CHUNK = 1 << 20


class Watched:
    """Reads as the file does; `has_failed` says whether that raised an error."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.has_failed = False

    def read(self, n_bytes: int = -1) -> bytes:
        """As a file's."""
        try:
            return self._file.read(n_bytes)
        except Exception:
            self.has_failed = True
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As a file's."""
        return self._file.tell()

    def close(self) -> None:
        """Nothing: who opened the file closes it."""


def read_up_to(file: BinaryIO, n_bytes: int) -> bytes:
    """The next `n_bytes`, however many reads that takes; fewer only at the file's end."""
    parts: list[bytes] = []
    while n_bytes > 0 and (part := file.read(n_bytes)):
        parts.append(part)
        n_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def can_seek(file: BinaryIO) -> bool:
    """Whether any part of it can be read: not where its size is unknown, whatever it says itself."""
    return file.seekable() and getattr(file, "size", 0) is not None


class ForwardReader:
    """Reads an archive at offsets that never fall. What lies between is passed over."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._can_seek = can_seek(file)

    def __call__(self, offset: int, n_bytes: int) -> bytes:
        """Read up to `n_bytes` at `offset`, fewer at the end. Malformed: the archive ends before it."""
        if self._can_seek and offset > self._offset:
            self._file.seek(offset)  # past the end it does not say so: the next read does
            self._offset = offset
        while self._offset < offset:
            self.exactly(self._offset, min(CHUNK, offset - self._offset))
        content = read_up_to(self._file, n_bytes)
        self._offset += len(content)
        return content

    def exactly(self, offset: int, n_bytes: int) -> bytes:
        """Read `n_bytes` at `offset`. Malformed: the archive ends before them."""
        content = self(offset, n_bytes)
        if len(content) < n_bytes:
            raise Malformed(
                f"the archive is cut off at byte {self._offset}, {n_bytes - len(content)} bytes early"
            )
        return content
