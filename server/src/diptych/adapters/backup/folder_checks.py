"""Check two folders against each other, and say what a disk means when it refuses; knows no content."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreError, StoreFull, StoreReadOnly

_KINDS = {errno.ENOSPC: StoreFull, errno.EDQUOT: StoreFull, errno.EROFS: StoreReadOnly}


def require_apart(one: Path, other: Path) -> None:
    """Raises StoreError when one lies inside of the other, or they are the same."""
    first, second = one.resolve(), other.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise StoreError(f"{one} and {other} must lie apart, and one is inside of the other")


@contextmanager
def disk_errors_translated(work: str, folder: Path) -> Iterator[None]:
    """Errors of the operating system as StoreFull, which says what to do, StoreReadOnly or StoreError."""
    try:
        yield
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, StoreError)
        raise kind(f"{work} failed, {_reason(error, folder, kind)}") from error


def _reason(error: OSError, folder: Path, kind: type[StoreError]) -> str:
    if kind is StoreFull:
        n_free = shutil.disk_usage(folder).free
        return f"no space is left in {folder} ({n_free} bytes free): make room and repeat it"
    named = f"{error.filename}: " if error.filename else ""
    return named + (error.strerror or type(error).__name__)
