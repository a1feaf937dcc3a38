"""Writes files so that they survive a loss of power."""

import os
from pathlib import Path

from diptych.failpoints import Step, around


def write_durably(path: Path, payload: bytes) -> None:
    """Write a file and wait for the disk. Its name is durable only after `fsync_folder` of its folder."""
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        with around("file_fsync"):
            os.fsync(file.fileno())


def fsync_file(path: Path) -> None:
    """Wait until the bytes of a file that other code wrote are on the disk."""
    _fsync(path, os.O_RDONLY, "file_fsync")


def fsync_folder(folder: Path, step: Step = "folder_fsync") -> None:
    """Wait until the names in a folder (creations, renames) are on the disk."""
    _fsync(folder, os.O_RDONLY | os.O_DIRECTORY, step)


def _fsync(path: Path, flags: int, step: Step) -> None:
    descriptor = os.open(path, flags)
    try:
        with around(step):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
