"""Sidecars: files of XMP beside pictures, whose captions and ratings become metadata.

`IMG_1.jpg.xmp` is that of `IMG_1.jpg` alone; `IMG_1.xmp` is that of all pictures `IMG_1` which have none of
their own, such as the JPEG and the HEIC of one shot.
"""

import asyncio
from dataclasses import dataclass

from diptych.bundle.image.xmp import MAX_XMP_BYTES, read_xmp
from diptych.core.collections.metadata.reserved import file_metadata
from diptych.core.collections.metadata.sidecar import sidecar_fields
from diptych.core.libraries.files import NS, KnownFiles
from diptych.core.libraries.plan import is_in, is_same, is_settled
from diptych.core.libraries.ports import (
    SIDECAR_ENDING,
    LibraryFile,
    LibraryFolder,
    Listing,
    Path,
    Stamp,
    Unreadable,
)
from diptych.core.types import Metadata

_ENDING = len(SIDECAR_ENDING)


@dataclass(frozen=True)
class Described:
    """The value of `file` in the metadata of a picture, and the sidecar that it is from, as it is known from
    now on. `unread`: a sidecar that cannot be read now.
    """

    file: Metadata
    sidecar: LibraryFile | None = None
    unread: Path | None = None


class Sidecars:
    """The sidecars of one listing."""

    def __init__(self, folder: LibraryFolder, listing: Listing, now_ns: int) -> None:
        """They are read from the folder when a picture is described."""
        self._folder = folder
        self._listing = listing
        self._now_ns = now_ns
        self._of = _by_picture(listing)
        self.unread: dict[Path, str] = {}  # why some cannot be read now

    def has(self, picture: Path) -> bool:
        """Whether a picture has a sidecar."""
        return picture in self._of

    async def describe(self, picture: Path, stamp: Stamp) -> Described:
        """Describe a picture. A sidecar that is no XMP says nothing. Raises LibraryAway."""
        file = file_metadata(picture.decode(errors="replace"), stamp.modified_ns / NS)
        path = self._of.get(picture)
        if path is None:
            return Described(file)
        found = await self._read(path)
        if found is None:
            return Described(file, unread=path)
        fields, known = found
        is_settled_now = is_settled(self._listing.sidecars[known.path], self._now_ns)
        return Described(file | fields, known if is_settled_now else None)

    def changes(self, known: KnownFiles, *, retries: bool) -> tuple[list[Path], list[Path]]:
        """Pictures whose sidecar is new, has changed or is gone, and known sidecars that are of no picture
        any more. With `retries`, those that were no XMP count as changed.
        """
        if not (self._of or known.sidecars):
            return [], []
        changed = {path for path in set(self._of.values()) if self._has_changed(known, path, retries=retries)}
        used = set(self._of.values())
        gone = [path for path in known.sidecars if path not in used and not is_in(path, self._listing.unread)]
        bases = {path[:-_ENDING] for path in gone}
        pictures = [
            path
            for path in self._listing.files
            if self._of.get(path) in changed or path in bases or _stem(path) in bases
        ]
        return pictures, gone

    def _has_changed(self, known: KnownFiles, path: Path, *, retries: bool) -> bool:
        stamp, before = self._listing.sidecars[path], known.sidecars.get(path)
        if before is not None and is_same(before, stamp) and not (retries and before.problem):
            return False
        return is_settled(stamp, self._now_ns)

    async def _read(self, path: Path) -> tuple[Metadata, LibraryFile] | None:
        """What a sidecar says, and the file as it is known from now on; None if it cannot be read now."""
        stamp = self._listing.sidecars[path]
        if stamp.n_bytes > MAX_XMP_BYTES:
            return {}, LibraryFile(path, stamp, None, f"has {stamp.n_bytes} bytes, limit is {MAX_XMP_BYTES}")
        found = await self._folder.read(path)
        if isinstance(found, Unreadable):
            self.unread[path] = found.reason
            return None
        try:
            fields = sidecar_fields(await asyncio.to_thread(read_xmp, found.payload))
        except ValueError as error:
            return {}, LibraryFile(path, found.stamp, None, str(error))
        return fields, LibraryFile(path, found.stamp, None)


def _by_picture(listing: Listing) -> dict[Path, Path]:
    """The sidecar of each picture that has one; the one with the whole name comes first."""
    by_base = {path[:-_ENDING]: path for path in sorted(listing.sidecars, reverse=True)}
    if not by_base:
        return {}
    found = {path: by_base.get(path) or by_base.get(_stem(path)) for path in listing.files}
    return {path: sidecar for path, sidecar in found.items() if sidecar is not None}


def _stem(path: Path) -> Path:
    """The path of a picture without its ending."""
    return path[: path.rindex(b".")]
