"""Read files that a server sends as they come; knows nothing of what is in them.

Of a web server that tells no length, fsspec's files give what has arrived, and say that they can seek.
"""

from typing import BinaryIO


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
