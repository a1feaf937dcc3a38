"""Unpack archives while they are read, as their endings say; knows nothing of what is in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from fsspec.compression import available_compressions, compr

from diptych.errors import Malformed
from diptych_training.data.pairs.remote.retry import reason_of
from diptych_training.data.pairs.remote.streams import Watched
from diptych_training.data.pairs.remote.urls import REMOTE, name_of, open_url
from diptych_training.errors import DataError

COMPRESSIONS = {"gz": "gzip", "tgz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd"}


@contextmanager
def unpacked(url: str) -> Iterator[BinaryIO]:
    """What is in the file at a path or URL. Reading it raises Malformed where it cannot be unpacked;
    DataError if it is not there, or no installed library unpacks it."""
    compression = COMPRESSIONS.get(name_of(url).lower().rpartition(".")[2])
    if compression is not None and compression not in available_compressions():
        raise DataError(f"{url}: no installed library unpacks {compression}: {REMOTE}")
    with open_url(url) as file:
        yield file if compression is None else cast(BinaryIO, _Unpacked(Watched(file), compression))


class _Unpacked:
    """A compressed file, unpacked, from its start to its end."""

    def __init__(self, source: Watched, compression: str) -> None:
        self._source = source
        self._file: Any = compr[compression](source, mode="rb")

    def read(self, n_bytes: int) -> bytes:
        """The next bytes. Malformed where there are none that can be unpacked."""
        try:
            return cast(bytes, self._file.read(n_bytes))
        except Exception as error:  # each library has errors of its own
            if self._source.has_failed:
                raise
            raise Malformed(f"the archive cannot be unpacked: {reason_of(error)}") from error

    def seekable(self) -> bool:
        """Passing over costs as much as reading."""
        return False
