"""Track fsync calls to tell which files and names of a folder would survive a loss of power."""

import os
import stat
from pathlib import Path

import pytest


class LastingNames:
    """Records fsync calls of this process. A name lasts once its folder is synced, bytes once their file is.

    This is stricter than most file systems, which keep more than they must.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: dict[Path, dict[str, int]] = {}  # folder -> name -> inode, at its last fsync
        self._bytes: set[int] = set()  # inodes
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._watched)

    def lasts(self, file: Path, root: Path) -> bool:
        """Whether the file's bytes and every name on its path below `root`, which lasts, would survive."""
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
