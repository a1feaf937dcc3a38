"""The files of one library as they were at the last scan, in memory and in the store."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from diptych.core.libraries.ports import LibraryFile, LibraryRows, Path
from diptych.core.types import Metadata

NS = 1_000_000_000
CHUNK = 1_000  # files in one transaction that adds no image

Item = TypeVar("Item")


class KnownFiles:
    """All files of one library. Changes are stored first."""

    def __init__(self, c: int, files: Iterable[LibraryFile], rows: LibraryRows) -> None:
        """`c` is the number of the collection."""
        self.c = c
        self._rows = rows
        self._by_path = dict[Path, LibraryFile]()
        self._sidecars = dict[Path, LibraryFile]()
        self._there = Counter[str | None]()
        self.n_missing = self.n_failed = 0  # pictures that are missing, and files that are none
        for file in files:
            self.note(file)

    @property
    def by_path(self) -> Mapping[Path, LibraryFile]:
        """The pictures by path."""
        return self._by_path

    @property
    def sidecars(self) -> Mapping[Path, LibraryFile]:
        """The sidecars that pictures were described by, by path."""
        return self._sidecars

    def all_files(self) -> Iterator[LibraryFile]:
        """Pictures and sidecars."""
        yield from self._by_path.values()
        yield from self._sidecars.values()

    def n_there(self, sha256: str | None) -> int:
        """The number of files with this content that are there."""
        return self._there[sha256]

    def is_there(self, path: Path) -> bool:
        """Whether this is a known picture that is there."""
        file = self._by_path.get(path)
        return file is not None and _is_there(file)

    def paths_of(self, sha256s: Collection[str]) -> list[Path]:
        """The paths of all files with one of these contents that are there."""
        if not sha256s:
            return []
        return [path for path, one in self._by_path.items() if one.sha256 in sha256s and _is_there(one)]

    def paths_by_sha256(
        self, sha256s: Collection[str | None], without: Collection[Path], has_sidecar: Callable[[Path], bool]
    ) -> dict[str, Path]:
        """The first path of each content whose files are there, but for some paths; those with a sidecar come
        first.
        """
        if not sha256s:
            return {}
        found: dict[str, Path] = {}
        paths = [
            path
            for path, file in self._by_path.items()
            if file.sha256 in sha256s and _is_there(file) and path not in without
        ]
        for path in sorted(paths, key=lambda one: (not has_sidecar(one), one)):
            found.setdefault(self._by_path[path].sha256 or "", path)
        return found

    async def record(
        self,
        files: Sequence[LibraryFile],
        *,
        gone: Collection[Path] = (),
        described: Mapping[str, Metadata] | None = None,
    ) -> None:
        """Put files, and forget others, see `LibraryRows.record`."""
        if not (files or gone or described):
            return
        await self._rows.record(self.c, files, gone=gone, described=described)
        for path in gone:
            self._forget(path)
        for file in files:
            self.note(file)

    def note(self, file: LibraryFile) -> None:
        """Remember the state of a file that is stored already."""
        if file.is_sidecar:
            self._sidecars[file.path] = file
            return
        self._forget(file.path)
        self._by_path[file.path] = file
        self._count(file, 1)

    def has_missing(self, before: str) -> bool:
        """Whether files are missing since an earlier time."""
        return any(_is_missing(one, before) for one in self._by_path.values())

    def note_dropped(self, before: str) -> None:
        """Forget files that are missing since an earlier time."""
        for path in [one.path for one in self._by_path.values() if _is_missing(one, before)]:
            self._forget(path)

    def _forget(self, path: Path) -> None:
        self._sidecars.pop(path, None)
        file = self._by_path.pop(path, None)
        if file is not None:
            self._count(file, -1)

    def _count(self, file: LibraryFile, n: int) -> None:
        self._there[file.sha256] += n * _is_there(file)
        self.n_missing += n * (file.missing_since is not None)
        self.n_failed += n * (file.problem != "")


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Parts of CHUNK items."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def named(path: Path) -> str:
    """The path as people read it; names of files need not be Unicode."""
    return os.fsdecode(path).encode("utf-8", "replace").decode()


def _is_missing(file: LibraryFile, before: str) -> bool:
    return file.missing_since is not None and file.missing_since < before


def _is_there(file: LibraryFile) -> bool:
    return file.sha256 is not None and file.missing_since is None
