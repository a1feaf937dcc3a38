"""Read the files of a library, a few at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from diptych.core.collections.stored.ids import sha256_of
from diptych.core.libraries.ports import Content, LibraryFile, LibraryFolder, Path, Stamp, Unreadable
from diptych.core.libraries.sidecars import Described, Sidecars

BATCH = 16  # files in memory; few, so that requests find room in the queue
BATCH_BYTES = 32_000_000


@dataclass(frozen=True)
class ReadFile:
    """A picture that was read, and what is to be said of its file."""

    path: Path
    stamp: Stamp
    payload: bytes
    sha256: str
    described: Described

    def as_known(self) -> LibraryFile:
        """The file as it is known from now on."""
        return LibraryFile(self.path, self.stamp, self.sha256)


@dataclass(frozen=True)
class ReadBatch:
    """Files that were read together. `unread`: why others could not be."""

    files: list[ReadFile]
    unread: dict[Path, str]

    @property
    def n_files(self) -> int:
        """The number of files, unread ones included."""
        return len(self.files) + len(self.unread)


async def read_all(
    folder: LibraryFolder, sidecars: Sidecars, paths: Sequence[Path], sizes: Sequence[int]
) -> AsyncIterator[ReadBatch]:
    """Read files of these `sizes`; the next ones are read while the caller works. Raises LibraryAway."""
    following: asyncio.Task[ReadBatch] | None = None
    try:
        for some in _batches(paths, sizes):
            current, following = following, asyncio.create_task(_read(folder, sidecars, some))
            if current is not None:
                yield await current
        if following is not None:
            yield await following
    finally:
        if following is not None:
            following.cancel()


async def _read(folder: LibraryFolder, sidecars: Sidecars, paths: Sequence[Path]) -> ReadBatch:
    found = await asyncio.gather(*(folder.read(path) for path in paths))
    batch = ReadBatch([], {})
    contents = list[tuple[Path, Content]]()
    for path, one in zip(paths, found, strict=True):
        if isinstance(one, Unreadable):
            batch.unread[path] = one.reason
        else:
            contents.append((path, one))
    hashes = await asyncio.to_thread(lambda: [sha256_of(one.payload) for _, one in contents])
    for (path, one), sha256 in zip(contents, hashes, strict=True):
        described = await sidecars.describe(path, one.stamp)
        batch.files.append(ReadFile(path, one.stamp, one.payload, sha256, described))
    return batch


def _batches(paths: Sequence[Path], sizes: Sequence[int]) -> list[list[Path]]:
    batches, n_bytes = list[list[Path]](), 0
    for path, size in zip(paths, sizes, strict=True):
        n_bytes += size
        if not batches or n_bytes > BATCH_BYTES or len(batches[-1]) == BATCH:
            batches.append([])
            n_bytes = size
        batches[-1].append(path)
    return batches
