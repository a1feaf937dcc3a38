"""Check two folders against each other, and say what a disk means when it refuses; knows no content."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def require_apart(one: Path, other: Path) -> None:
    """Raises StoreError when one lies inside of the other, or they are the same."""
    first, second = one.resolve(), other.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise StoreError(f"{one} and {other} must lie apart, and one is inside of the other")


@contextmanager
def disk_errors_translated(work: str, folder: Path) -> Iterator[None]:
    """What the operating system raises as StoreError, with what can be done about a full disk."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{work} failed, {_reason(error, folder)}") from error


def _reason(error: OSError, folder: Path) -> str:
    if error.errno in _FULL:
        n_free = shutil.disk_usage(folder).free
        return f"no space is left in {folder} ({n_free} bytes free): make room and repeat it"
    named = f"{error.filename}: " if error.filename else ""
    return named + (error.strerror or type(error).__name__)
