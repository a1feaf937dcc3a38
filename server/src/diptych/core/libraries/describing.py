"""Say of the images of a library which files they are, and what the sidecars of these say."""

import asyncio
from collections.abc import Collection, Mapping

from diptych.core.libraries.files import KnownFiles, chunks
from diptych.core.libraries.ports import LibraryFolder, Listing, Path
from diptych.core.libraries.sidecars import Sidecars


class Descriptions:
    """Writes the `file` of images, in one scan.

    An image with several files is described as one of them, those with a sidecar first. Each step leaves what
    another scan would find and repeat, if the process is killed after it.
    """

    def __init__(self, folder: LibraryFolder, listing: Listing, now_ns: int) -> None:
        """`now_ns`: sidecars that were modified just before it wait for the next scan."""
        self.sidecars = Sidecars(folder, listing, now_ns)

    async def first_paths(
        self, known: KnownFiles, sha256s: Collection[str | None], without: Collection[Path] = ()
    ) -> dict[str, Path]:
        """The path that an image of each sha256 is described as, if it has any but those `without`."""
        return await asyncio.to_thread(known.paths_by_sha256, sha256s, without, self.sidecars.has)

    async def describe(
        self, known: KnownFiles, paths: Mapping[str, Path], *, gone: Collection[Path] = ()
    ) -> None:
        """Describe images, by sha256, as the files with these paths, and forget files that are gone."""
        found = {
            path: await self.sidecars.describe(path, known.by_path[path].stamp)
            for path in set(paths.values())
        }
        unread = [one.unread for one in found.values() if one.unread is not None]
        await known.record(
            [one.sidecar for one in found.values() if one.sidecar is not None],
            gone=[*gone, *unread],  # a sidecar that is not known is read by the next scan
            described={sha256: found[path].file for sha256, path in paths.items()},
        )

    async def follow(self, known: KnownFiles, problems: Collection[Path], *, retries: bool) -> None:
        """Describe those images anew whose sidecar has come, has changed, or is gone. Files with `problems`
        are left alone. With `retries`, sidecars that were no XMP are read again.
        """
        pictures, gone = await asyncio.to_thread(self.sidecars.changes, known, retries=retries)
        there = [path for path in sorted(pictures) if known.is_there(path) and path not in problems]
        for some in chunks(there):
            found = {path: await self.sidecars.describe(path, known.by_path[path].stamp) for path in some}
            readable = {known.by_path[path].sha256 for path, one in found.items() if one.unread is None}
            await self.describe(known, await self.first_paths(known, readable))
            await known.record([one.sidecar for one in found.values() if one.sidecar is not None])
        await known.record([], gone=gone)
