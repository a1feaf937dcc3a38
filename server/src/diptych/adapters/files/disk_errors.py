"""Translates errors of the operating system into ours: full disk, read-only disk, other."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from diptych.errors import StoreError, StoreFull, StoreReadOnly

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def file_errors_translated(what: str) -> Iterator[None]:
    """Errors of the operating system as StoreFull, StoreReadOnly or StoreError; `what` begins the message."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{what}: no space is left on the disk of the data folder") from error
        if error.errno == errno.EROFS:
            raise StoreReadOnly(f"{what}: the data folder is on a disk that is read-only") from error
        raise StoreError(f"{what}: {error.strerror or type(error).__name__}") from error
