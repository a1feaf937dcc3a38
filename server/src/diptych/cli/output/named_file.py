"""A file that the user names for a result: found out before the work whether it can be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import InvalidValue


def require_writable(file: Path | None) -> None:
    """Raise InvalidValue for a file that cannot be written, as far as is known before writing."""
    if file is None:
        return
    folder = file.parent
    if file.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"there is no folder {folder}"
    elif not os.access(*((file, os.W_OK) if file.exists() else (folder, os.W_OK | os.X_OK))):
        reason = "permission denied"
    else:
        return
    raise InvalidValue(f"cannot be written: {reason}", str(file))


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raise InvalidValue with the name of the file where writing it fails."""
    try:
        yield
    except OSError as error:
        raise InvalidValue(f"cannot be written: {error.strerror}", str(file)) from error
