"""A file for a decoder: tells a server that fails from contents that are wrong. Knows nothing of either."""

from typing import BinaryIO


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
