"""Ports of libraries: a folder that is only read, and the records of its files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from diptych.core.types import Metadata, Removed

SIDECAR_ENDING = b".xmp"
Path = bytes  # of a file within its library, parts separated by "/"; names of files need not be Unicode


@dataclass(frozen=True, slots=True)
class Stamp:
    """What shows whether a file has changed, and the disk that it is on."""

    n_bytes: int
    modified_ns: int
    device: str


@dataclass(frozen=True)
class Listing:
    """The pictures of a library, by their endings, and files of XMP. `unread`: folders that could not be
    read, and why; what is in them is unknown. `left_out`: other entries that people may miss, and why.
    """

    files: Mapping[Path, Stamp] = field(default_factory=dict)
    unread: Mapping[Path, str] = field(default_factory=dict)
    left_out: Mapping[Path, str] = field(default_factory=dict)
    sidecars: Mapping[Path, Stamp] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """The bytes of a file, as it was with this stamp."""

    payload: bytes
    stamp: Stamp


@dataclass(frozen=True)
class Unreadable:
    """Why a file cannot be read now. `is_absent`: nothing is at its place."""

    reason: str
    is_absent: bool = False


class LibraryFolder(Protocol):
    """The folder of a library, which is never written to. Nothing outside of it is ever read: no link is
    followed.
    """

    async def listing(self) -> Listing:
        """All pictures in it. Raises LibraryAway if the folder itself cannot be read."""
        ...

    async def read(self, path: Path) -> Content | Unreadable:
        """Read one file, if it is a regular one. Raises LibraryAway."""
        ...


@dataclass(frozen=True)
class LibraryFile:
    """One known file. `missing_since`: when a scan first did not find it (ISO 8601), None while it is there.

    With a `problem` the file is no picture that can be read; `sha256` is then that of the picture that was
    there before, which is missing, or None. Sidecars have none.
    """

    path: Path
    stamp: Stamp
    sha256: str | None
    problem: str = ""
    missing_since: str | None = None

    @property
    def is_sidecar(self) -> bool:
        """Whether it is a file of XMP, and no picture."""
        return self.path.lower().endswith(SIDECAR_ENDING)


@dataclass(frozen=True)
class FilePlace:
    """A place where the bytes of an image should be: a file of the library of this name, on this disk."""

    library: str
    path: Path
    device: str
    is_missing: bool


class Previews(Protocol):
    """Thumbnails of pictures in libraries, as many as there is room for."""

    async def get(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        ...

    async def put(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail; those that were not used for the longest time make room."""
        ...

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete all thumbnails of these pictures."""
        ...


class LibraryRows(Protocol):
    """The files of libraries. `c` is the number of the collection of one. Each write is one transaction."""

    async def files(self, c: int) -> list[LibraryFile]:
        """All known files. Raises NotFound."""
        ...

    async def places(self, sha256: str) -> list[FilePlace]:
        """Where the bytes with this sha256 should be; known files first that are not missing."""
        ...

    async def images(self, c: int, sha256s: Collection[str]) -> dict[str, str]:
        """The ids of images that refer to files with one of these sha256, by it."""
        ...

    async def sizes(self, sha256s: Collection[str]) -> dict[str, int]:
        """The bytes of those files that images of any library refer to, by sha256."""
        ...

    async def deleted(self, c: int, sha256s: Collection[str]) -> set[str]:
        """Those of the sha256 whose images a person has deleted."""
        ...

    async def restore(self, c: int, sha256s: Collection[str]) -> None:
        """Forget that a person has deleted images with these sha256."""
        ...

    async def record(
        self,
        c: int,
        files: Sequence[LibraryFile],
        *,
        gone: Collection[Path] = (),
        described: Mapping[str, Metadata] | None = None,
    ) -> None:
        """Add or replace known files, forget those that are `gone`, and set the `file` of images by sha256.

        Raises NotFound.
        """
        ...

    async def mark_missing(self, c: int, paths: Collection[Path], since: str) -> Removed:
        """Note that files are missing. An image none of whose files is there loses its vectors, and its
        metadata say so.

        The keys of the result are those of such images; they stay in the store.
        """
        ...

    async def tidy(self, c: int, before: str) -> Removed:
        """Forget files that are missing since an earlier time than `before`, and delete images of no file."""
        ...
