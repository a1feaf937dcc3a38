"""Decompress archives while reading them, according to their file extensions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from fsspec.compression import available_compressions, compr

from diptych.errors import Malformed
from diptych_training.data.pairs.remote.retry import reason_of
from diptych_training.data.pairs.remote.streams import MonitoredFile
from diptych_training.data.pairs.remote.urls import INSTALL_REMOTE, name_of, open_url
from diptych_training.errors import DataError

COMPRESSIONS = {"gz": "gzip", "tgz": "gzip", "bz2": "bz2", "xz": "xz", "zst": "zstd"}


@contextmanager
def unpacked(url: str) -> Iterator[BinaryIO]:
    """Context manager: the decompressed file at a path or URL; reading damaged data raises Malformed.

    DataError if there is no such file, or no installed library decompresses it.
    """
    compression = COMPRESSIONS.get(name_of(url).lower().rpartition(".")[2])
    if compression is not None and compression not in available_compressions():
        raise DataError(f"{url}: no installed library unpacks {compression}: {INSTALL_REMOTE}")
    with open_url(url) as file:
        yield file if compression is None else cast(BinaryIO, _Unpacked(MonitoredFile(file), compression))


class _Unpacked:
    """A compressed file, decompressed from start to end."""

    def __init__(self, source: MonitoredFile, compression: str) -> None:
        self._source = source
        self._file: Any = compr[compression](source, mode="rb")

    def read(self, n_bytes: int) -> bytes:
        """The next bytes. Malformed if they cannot be decompressed."""
        try:
            return cast(bytes, self._file.read(n_bytes))
        except Exception as error:  # each library has errors of its own
            if self._source.has_failed:
                raise
            raise Malformed(f"the archive cannot be unpacked: {reason_of(error)}") from error

    def seekable(self) -> bool:
        """False: skipping costs as much as reading."""
        return False
