"""Read originals that stay in libraries from their places."""

from collections.abc import AsyncIterator, Mapping, Sequence

from diptych.core.collections.stored.ids import sha256_of
from diptych.core.collections.stored.ports import ImageStore
from diptych.core.libraries.ports import (
    Content,
    FilePlace,
    LibraryFolder,
    LibraryRows,
    Path,
    Previews,
    Unreadable,
)
from diptych.errors import CorruptStore, LibraryAway


class LibraryImages:
    """The image files of the data folder, and those of libraries. Satisfies `stored.ports.ImageStore`.

    A file of a library is only read, and only taken if it still has the sha256 that it is asked for by.
    """

    def __init__(
        self,
        kept: ImageStore,
        *,
        rows: LibraryRows,
        folders: Mapping[str, LibraryFolder],
        previews: Previews,
        doubtful: Mapping[str, set[Path]],
    ) -> None:
        """`kept` are the files of the data folder; `folders` those of the libraries, by name. Files that turn
        out to have other bytes are added to those that are `doubtful`, by library.
        """
        self._kept = kept
        self._rows = rows
        self._folders = folders
        self._previews = previews
        self._doubtful = doubtful

    async def require_available(self) -> None:
        """Raise StoreUnavailable while the data folder is gone; libraries may be away."""
        await self._kept.require_available()

    async def require_writable(self) -> None:
        """As `require_available`; raises StoreReadOnly, too."""
        await self._kept.require_writable()

    async def put(self, payloads: dict[str, bytes], *, are_used: bool = False) -> None:
        """Write files to the data folder."""
        await self._kept.put(payloads, are_used=are_used)

    async def get(self, sha256: str) -> bytes:
        """Read a file. Raises CorruptStore when it is nowhere, LibraryAway while it may be somewhere."""
        try:
            return await self._kept.get(sha256)
        except CorruptStore as error:
            found = await self._from_libraries(sha256)
            if found is None:
                raise error
            return found

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        kept = await self._kept.get_thumbnail(sha256, size_px)
        return kept or await self._previews.get(sha256, size_px)

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail."""
        keeps = self._kept.put_thumbnail if await self._kept.sizes([sha256]) else self._previews.put
        await keeps(sha256, size_px, thumbnail)

    def stored(self) -> AsyncIterator[Sequence[str]]:
        """The sha256 of all files and thumbnails of the data folder, but for previews of libraries."""
        return self._kept.stored()

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The bytes of those files that are kept, or that images of libraries refer to."""
        return await self._rows.sizes(sha256s) | await self._kept.sizes(sha256s)

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete files of the data folder, and all their thumbnails. Files of libraries stay."""
        await self._kept.remove(sha256s)
        await self._previews.remove(sha256s)

    async def _from_libraries(self, sha256: str) -> bytes | None:
        """The bytes at one of the places of a file; None if no library knows of it.

        A missing file may be back. If it is not, nobody waits for it. Only a scan, which sees whether a whole
        disk is away, says that a file is missing; until then it is waited for.
        """
        places = await self._rows.places(sha256)
        away: LibraryAway | None = None
        for place in places:
            try:
                found = await self._folder_of(place.library).read(place.path)
                if isinstance(found, Content):
                    if sha256_of(found.payload) == sha256:
                        return found.payload
                    self._doubtful[place.library].add(place.path)
                _require_same_disk(place, found)
            except LibraryAway as error:
                away = away if place.is_missing else error
        if away is not None:
            raise away
        if places:
            raise CorruptStore(
                f"the file of image {sha256} is gone from library {places[0].library!r}, or has changed, "
                "since it was last looked at",
                logged="the file of an image in a library is gone, or has changed",
            )
        return None

    def _folder_of(self, library: str) -> LibraryFolder:
        folder = self._folders.get(library)
        if folder is None:
            raise LibraryAway(
                f"library {library!r} is not named at this start: start the server with --library "
                f"{library}=FOLDER"
            )
        return folder


def _require_same_disk(place: FilePlace, found: Content | Unreadable) -> None:
    """Raise LibraryAway if nothing is there, or another disk: what should be there may come back."""
    is_away = found.is_absent if isinstance(found, Unreadable) else found.stamp.device != place.device
    if is_away:
        raise LibraryAway(
            f"a file of library {place.library!r} is not in its place: its disk may not be mounted. The next "
            "scan says whether the file is missing; GET /libraries says whether the library waits"
        )
