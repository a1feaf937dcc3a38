"""Keeps image files and thumbnails under the sha256 of the image."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from diptych.adapters.files import unused_files
from diptych.adapters.files.atomic_files import (
    TMP_PREFIX,
    QuotedFiles,
    file_errors,
    fsync_names,
    has_sha256,
    read_if_there,
    size_of,
)
from diptych.adapters.files.disk_errors import require_writable
from diptych.adapters.files.opened import OpenedFolder
from diptych.adapters.files.private_files import narrow
from diptych.adapters.files.quota import Quota
from diptych.durable import fsync_folder
from diptych.errors import CorruptStore, StoreError

N_AT_ONCE = 8  # concurrent reads and removals
N_WRITERS = 2  # concurrent puts, few so that few files are open; each syncs its files in parallel
PAGE = 1_000  # images in a page of `stored`
N_SYNCS = 8  # fsyncs of several files overlap on the disk

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class ImageFiles:
    """`<data_dir>/images/ab/<sha256>` and `<data_dir>/thumbnails/ab/<sha256>-<size>`.

    Satisfies `core.collections.stored.ports.ImageStore`. A file appears by one rename after its bytes are on
    the disk, so that a file with its final name is whole.
    """

    def __init__(
        self, data_dir: Path, quota: Quota | None = None, *, read_only: bool = False, shared: bool = False
    ) -> None:
        """Open the folders, and count all files if the quota is set. Blocking. Raises StoreError.

        With `read_only` the folders are not made, and nothing may be put or removed. `shared`: other servers
        use them too, so that only files without a use for a while are removed, see `unused_files`.
        """
        quota = quota or Quota()
        self._shared = shared
        self._read_only = read_only
        self._files = QuotedFiles(quota)
        self._images = data_dir / "images"
        self._thumbnails = data_dir / "thumbnails"
        self._pool = ThreadPoolExecutor(max_workers=N_AT_ONCE, thread_name_prefix="image-files")
        self._writers = ThreadPoolExecutor(max_workers=N_WRITERS, thread_name_prefix="file-write")
        self._sync_pool = ThreadPoolExecutor(max_workers=N_SYNCS, thread_name_prefix="file-sync")
        with file_errors():
            if not read_only:
                for folder in (self._images, self._thumbnails):
                    folder.mkdir(mode=0o700, exist_ok=True)
                    narrow(folder)  # other users then cannot reach the files in it, whatever their modes
                fsync_folder(data_dir)
                fsync_folder(self._images)  # a killed process may have made folders without fsync
            # The folders whose names are on the disk.
            self._durable_folders = {path for path in self._images.iterdir() if path.is_dir()}
            self._opened = OpenedFolder(
                self._images,
                lambda: self._durable_folders,
                "the folder that DIPTYCH_ORIGINALS names" if shared else "the data folder",
            )
        if quota.is_set:
            self._files.count(self._paths())

    async def require_available(self) -> None:
        """Raises StoreUnavailable while the folder of the images is missing, such as without its disk."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._opened.require)

    async def require_writable(self) -> None:
        """As `require_available`; also raises StoreReadOnly while the disk of the images takes no writes."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._require_writable)

    async def put(self, payloads: dict[str, bytes], *, are_used: bool = False) -> None:
        """Store files (sha256 -> bytes); all of them are durable and whole when this returns.

        A file that already exists is read, and written again if it is damaged. Its folder is fsynced in any
        case: the process that renamed the file may have been killed before its fsync.
        """
        folders = {_path(self._images, sha256).parent for sha256 in payloads}
        # including folders that a concurrent put has made and not yet fsynced
        fresh = folders - self._durable_folders
        named_in = folders | ({self._images} if fresh else set())
        await asyncio.get_running_loop().run_in_executor(self._writers, self._put, payloads, named_in)
        self._durable_folders |= fresh

    async def get(self, sha256: str) -> bytes:
        """The bytes of a file, whose sha256 was checked. Raises CorruptStore if it is missing or damaged."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, sha256)

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The stored thumbnail; None if there is none."""
        path = self._thumbnail(sha256, size_px)
        kept = await asyncio.get_running_loop().run_in_executor(self._pool, read_if_there, path)
        return kept or None  # a loss of power may leave an empty file, since thumbnails are not fsynced

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Store a thumbnail without waiting for the disk, since it can be made again."""
        path = self._thumbnail(sha256, size_px)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._files.write, path, thumbnail)

    async def stored(self) -> AsyncIterator[Sequence[str]]:
        """The sha256 of all images that have a file or a thumbnail, of shared files those without a use for a
        while, in pages.

        Removes leftovers of interrupted writes.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._pool, self._stored)
        for start in range(0, len(found), PAGE):
            yield found[start : start + PAGE]

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The sizes in bytes of those files that exist. Their content is not checked."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._sizes, sha256s)

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the files and all their thumbnails; missing ones are ignored."""
        if sha256s:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._remove, sha256s)

    def _require_writable(self) -> None:
        self._opened.require()
        if not self._read_only:
            require_writable(self._images)

    def _put(self, payloads: Mapping[str, bytes], named_in: Collection[Path]) -> None:
        with self._opened.required():
            self._put_all(payloads, named_in)

    def _put_all(self, payloads: Mapping[str, bytes], named_in: Collection[Path]) -> None:
        paths = {sha256: _path(self._images, sha256) for sha256 in payloads}
        with file_errors():
            there = [one for one, path in paths.items() if size_of(path) == len(payloads[one])]
            if self._shared:  # before they are read: from now on they stay
                there = [one for one in there if unused_files.note_use(paths[one])]
        whole = self._each(lambda one: has_sha256(paths[one], one), there)
        to_write = {paths[one]: payload for one, payload in payloads.items() if not whole.get(one)}
        self._files.write_durably(to_write, self._each)
        self._each(fsync_names, named_in)  # a set, so each folder once

    def _each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> dict[Item, Result]:
        """Run `work` on all items in parallel; return the results by item.

        The first failure is raised at the end.

        Each thread gets a share of the items: a task for each item would cost more than writing a file.
        """
        everything = list(items)
        shares = [share for n in range(N_SYNCS) if (share := everything[n::N_SYNCS])]
        running = [self._sync_pool.submit(_one_by_one, work, share) for share in shares]
        wait(running)
        return {item: result for one in running for item, result in one.result()}

    def _get(self, sha256: str) -> bytes:
        try:
            return self._read(sha256)
        except StoreError:
            self._opened.require()
            raise

    def _read(self, sha256: str) -> bytes:
        payload = read_if_there(_path(self._images, sha256))
        if payload is not None and hashlib.sha256(payload).hexdigest() == sha256:
            return payload
        found = "missing" if payload is None else "damaged"
        raise CorruptStore(
            f"the file of image {sha256} is {found}: add the image again",
            logged=f"the file of an image is {found}",
        )

    def _stored(self) -> list[str]:
        with file_errors():
            found: set[str] = set()
            for path in self._paths():
                if path.name.startswith(unused_files.SWEPT_PREFIX):
                    found.add(unused_files.put_back(path).name)
                elif self._shared and not unused_files.is_unused(path):
                    continue
                elif path.name.startswith(TMP_PREFIX):
                    self._files.remove(path)
                else:
                    found.add(path.name.partition("-")[0])
            return sorted(found)

    def _sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        with self._opened.required(), file_errors():
            found = {sha256: size_of(_path(self._images, sha256)) for sha256 in sha256s}
        return {
            sha256: n_bytes for sha256, n_bytes in found.items() if n_bytes
        }  # an image file is never empty

    def _remove(self, sha256s: Sequence[str]) -> None:
        with self._opened.required(), file_errors():
            for sha256 in sha256s:
                path = _path(self._images, sha256)
                if self._shared and path.exists():
                    swept = unused_files.take_unused(path)
                    if swept is None:
                        continue
                    path = swept
                self._files.remove(path)
                for path in _path(self._thumbnails, sha256).parent.glob(f"{sha256}-*"):
                    self._files.remove(path)

    def _paths(self) -> list[Path]:
        return [*self._images.glob("*/*"), *self._thumbnails.glob("*/*")]

    def _thumbnail(self, sha256: str, size_px: int) -> Path:
        return _path(self._thumbnails, sha256).with_name(f"{sha256}-{size_px}")


def _one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> list[tuple[Item, Result]]:
    """Run `work` on the items one by one; raise the first failure at the end."""
    results, failures = list[tuple[Item, Result]](), list[Exception]()
    for item in items:
        try:
            results.append((item, work(item)))
        except Exception as error:  # raised below
            failures.append(error)
    if failures:
        raise failures[0]
    return results


def _path(root: Path, sha256: str) -> Path:
    return root / sha256[:2] / sha256
