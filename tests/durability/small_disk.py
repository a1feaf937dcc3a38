"""Disks of a few megabytes that tests fill, empty and make read-only. Needs root."""

import os
import subprocess
from collections.abc import Callable, Iterator
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
def failing_disk(folder: Path, megabytes: int) -> Iterator[Callable[[], object]]:
    """Mount an ext4 file system for the block; yields what makes it fail, so that it takes no more writes.

    Its flags need not show that. Skips the test where ext4 cannot be mounted from a file.
    """
    folder.mkdir()
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    try:
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        options = "loop,errors=remount-ro"
        subprocess.run(["mount", "-o", options, str(image), str(folder)], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("ext4 cannot be mounted from a file here")
    device = folder.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    try:
        yield lambda: (Path("/sys/fs/ext4") / name / "trigger_fs_error").write_text("1")
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
