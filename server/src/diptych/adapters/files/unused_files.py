"""Files that several servers share: those without a use for a while are removed, and no others."""

import os
import time
from contextlib import suppress
from pathlib import Path

GRACE_S = 3_600.0  # longer than any add takes from its files to its rows
SWEPT_PREFIX = ".swept-"


def note_use(path: Path) -> bool:
    """Keep a file for GRACE_S; False if it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def is_unused(path: Path) -> bool:
    """Whether no server has used the file for GRACE_S; False if it is not there."""
    try:
        return time.time() - path.stat().st_mtime > GRACE_S
    except FileNotFoundError:
        return False


def take_unused(path: Path) -> Path | None:
    """Move a file away, so that it can be removed; None if it is used or not there.

    Its time is read again once no server can note a use of it any more: who comes later misses the file, and
    writes it again.
    """
    if not is_unused(path):
        return None
    swept = path.with_name(f"{SWEPT_PREFIX}{path.name}")
    with suppress(FileNotFoundError):  # another server sweeps
        path.rename(swept)
        if is_unused(swept):
            return swept
        swept.replace(path)
    return None


def put_back(swept: Path) -> Path:
    """Undo the beginning of a sweep that was killed; return the name of the file."""
    path = swept.with_name(swept.name.removeprefix(SWEPT_PREFIX))
    with suppress(FileNotFoundError):
        swept.replace(path)
    return path
