"""The files of one library as they were at the last scan, in memory and in the store."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from diptych.core.collections.metadata.reserved import file_metadata
from diptych.core.libraries.ports import LibraryFile, LibraryRows, Path, Stamp
from diptych.core.types import Metadata

NS = 1_000_000_000


class KnownFiles:
    """All files of one library. Changes are stored first."""

    def __init__(self, c: int, files: Iterable[LibraryFile], rows: LibraryRows) -> None:
        """`c` is the number of the collection."""
        self.c = c
        self._rows = rows
        self._by_path = {file.path: file for file in files}
        self._there = Counter(file.sha256 for file in self._by_path.values() if _is_there(file))

    @property
    def by_path(self) -> Mapping[Path, LibraryFile]:
        """The files by path."""
        return self._by_path

    @property
    def n_missing(self) -> int:
        """The number of files that are missing."""
        return sum(file.missing_since is not None for file in self._by_path.values())

    def n_there(self, sha256: str | None) -> int:
        """The number of files with this content that are there."""
        return self._there[sha256]

    def paths_by_sha256(self, sha256s: Collection[str], without: Collection[Path]) -> dict[str, Path]:
        """The first path of each content whose files are there, but for some paths."""
        found: dict[str, Path] = {}
        for path in sorted(self._by_path):
            file = self._by_path[path]
            if file.sha256 is None or file.sha256 not in sha256s or path in without:
                continue
            if _is_there(file):
                found.setdefault(file.sha256, path)
        return found

    async def record(
        self,
        files: Sequence[LibraryFile],
        *,
        gone: Collection[Path] = (),
        described: Mapping[str, Metadata] | None = None,
    ) -> None:
        """Put files, and forget others, see `LibraryRows.record`."""
        if not (files or gone):
            return
        await self._rows.record(self.c, files, gone=gone, described=described)
        for path in gone:
            self._forget(path)
        for file in files:
            self.note(file)

    def note(self, file: LibraryFile) -> None:
        """Remember the state of a file that is stored already."""
        self._forget(file.path)
        self._by_path[file.path] = file
        self._there[file.sha256] += _is_there(file)

    def has_missing(self, before: str) -> bool:
        """Whether files are missing since an earlier time."""
        return any(_is_missing(one, before) for one in self._by_path.values())

    def note_dropped(self, before: str) -> None:
        """Forget files that are missing since an earlier time."""
        for path in [one.path for one in self._by_path.values() if _is_missing(one, before)]:
            self._forget(path)

    def _forget(self, path: Path) -> None:
        file = self._by_path.pop(path, None)
        if file is not None:
            self._there[file.sha256] -= _is_there(file)


def described(path: Path, stamp: Stamp) -> Metadata:
    """The value of `file` in the metadata of a picture."""
    return file_metadata(path.decode(errors="replace"), stamp.modified_ns / NS)


def named(path: Path) -> str:
    """The path as people read it; names of files need not be Unicode."""
    return os.fsdecode(path).encode("utf-8", "replace").decode()


def _is_missing(file: LibraryFile, before: str) -> bool:
    return file.missing_since is not None and file.missing_since < before


def _is_there(file: LibraryFile) -> bool:
    return file.sha256 is not None and file.missing_since is None
