"""A disk of a few megabytes in memory that tests fill, empty and make read-only. Needs root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
BLOCK = 4096


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free(self) -> int:
        """Return the free bytes."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def fill(self, but: int = 0) -> None:
        """Fill the disk, leaving `but` bytes free."""
        self.empty()
        with self._ballast.open("wb", buffering=0) as file:
            while self.free > but:
                file.write(bytes(min(BLOCK, self.free - but)))

    def empty(self) -> None:
        """Remove the content that `fill` wrote."""
        self._ballast.unlink(missing_ok=True)

    def remount(self, *options: str) -> None:
        """Remount with options such as `ro`, which the kernel refuses while a file is open for writing."""
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk for the duration of the block."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make the folder read-only during the block, even if files elsewhere on its disk are open."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
