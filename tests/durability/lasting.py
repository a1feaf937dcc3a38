"""What of a folder would outlast the loss of power, by what was fsynced; knows nothing of who writes."""

import os
import stat
from pathlib import Path

import pytest


class LastingNames:
    """Watches the fsyncs of this process. A name lasts from the fsync of its folder on, bytes from theirs.

    Stricter than most file systems, which keep more than they have to.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: dict[Path, dict[str, int]] = {}  # folder -> name -> inode, at its last fsync
        self._bytes: set[int] = set()  # inodes
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._watched)

    def lasts(self, file: Path, root: Path) -> bool:
        """Its bytes, and every name on the way from `root`, which is there for good."""
        way = [file, *file.relative_to(root).parents]
        folders = [root / one for one in way[1:]]
        names = all(self._has_name(path) for path in (file, *folders[:-1]))
        return names and file.stat().st_ino in self._bytes

    def _has_name(self, path: Path) -> bool:
        return self._names.get(path.parent, {}).get(path.name) == path.stat().st_ino

    def _watched(self, descriptor: int) -> None:
        self._fsync(descriptor)
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            folder = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._names[folder] = {entry.name: entry.inode() for entry in os.scandir(folder)}
        else:
            self._bytes.add(found.st_ino)
