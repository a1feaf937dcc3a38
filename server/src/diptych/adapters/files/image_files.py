"""Keep image files under the sha256 of their content; knows nothing of collections or of images."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from diptych.adapters.files.atomic_files import (
    TMP_PREFIX,
    QuotedFiles,
    fsync_names,
    has_sha256,
    read_if_there,
    size_of,
    translated,
)
from diptych.adapters.files.opened_folder import OpenedFolder
from diptych.adapters.files.private_files import narrow
from diptych.adapters.files.quota import Quota
from diptych.durable import fsync_folder
from diptych.errors import CorruptStore, StoreError

N_AT_ONCE = 8  # reads and removals that do not wait for each other
N_WRITERS = 2  # puts at a time, so that few files are open; each syncs side by side
N_SIDE_BY_SIDE = 8  # fsyncs of several files overlap on the disk

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class ImageFiles:
    """`<data_dir>/images/ab/<sha256>` and `<data_dir>/thumbnails/ab/<sha256>-<size>`.

    Satisfies `core.collections.ports.ImageStore`. A file appears by one rename after its bytes are on the
    disk, so that whatever has its final name is whole.
    """

    def __init__(self, data_dir: Path, quota: Quota | None = None) -> None:
        """Blocking. Raises StoreError; with a quota that is set, all files are counted."""
        quota = quota or Quota()
        self._files = QuotedFiles(quota)
        self._images = data_dir / "images"
        self._thumbnails = data_dir / "thumbnails"
        self._pool = ThreadPoolExecutor(max_workers=N_AT_ONCE, thread_name_prefix="image-files")
        self._writers = ThreadPoolExecutor(max_workers=N_WRITERS, thread_name_prefix="file-write")
        self._side_by_side = ThreadPoolExecutor(max_workers=N_SIDE_BY_SIDE, thread_name_prefix="file-sync")
        with translated():
            for folder in (self._images, self._thumbnails):
                folder.mkdir(mode=0o700, exist_ok=True)
                narrow(folder)  # nobody else reaches the files in it then, whatever their modes
            fsync_folder(data_dir)
            fsync_folder(self._images)  # a killed process may have made folders in it and not waited
            self._lasting = {path for path in self._images.iterdir() if path.is_dir()}  # names on the disk
            self._opened = OpenedFolder(self._images, lambda: self._lasting)
        if quota.is_set:
            self._files.count(self._paths())

    async def require_available(self) -> None:
        """Raises StoreUnavailable while the folder of the images is not there, as when its disk is gone."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._opened.require)

    async def put(self, payloads: dict[str, bytes]) -> None:
        """sha256 -> bytes; all of them durable and whole when this returns.

        A file that is already there is read: what was damaged since is written anew. Its folder is fsynced
        all the same: whoever gave it its name may have failed, or been killed, before that.
        """
        folders = {_place(self._images, sha256).parent for sha256 in payloads}
        fresh = folders - self._lasting  # whoever makes them: that may be a write that has not come this far
        named_in = folders | ({self._images} if fresh else set())
        await asyncio.get_running_loop().run_in_executor(self._writers, self._put, payloads, named_in)
        self._lasting |= fresh

    async def get(self, sha256: str) -> bytes:
        """The bytes. Raises CorruptStore when the file is missing."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, sha256)

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        path = self._thumbnail(sha256, size_px)
        kept = await asyncio.get_running_loop().run_in_executor(self._pool, read_if_there, path)
        return kept or None  # power loss may leave an empty file, as nothing waited for the disk

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail; it is derived, and may be lost, so nothing waits for the disk."""
        path = self._thumbnail(sha256, size_px)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._files.write, path, thumbnail)

    async def stored(self) -> list[str]:
        """The sha256 of all files and thumbnails there are; leftovers of broken writes are removed."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._stored)

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """Bytes of those files that are there, without a look into them."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._sizes, sha256s)

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the files and all their thumbnails; missing ones are fine."""
        if sha256s:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._remove, sha256s)

    def _put(self, payloads: Mapping[str, bytes], named_in: Collection[Path]) -> None:
        with self._opened.required():
            self._put_all(payloads, named_in)

    def _put_all(self, payloads: Mapping[str, bytes], named_in: Collection[Path]) -> None:
        places = {sha256: _place(self._images, sha256) for sha256 in payloads}
        with translated():
            there = [one for one, place in places.items() if size_of(place) == len(payloads[one])]
        whole = self._each(lambda one: has_sha256(places[one], one), there)
        todo = {places[one]: payload for one, payload in payloads.items() if not whole.get(one)}
        self._files.write_durably(todo, self._each)
        self._each(fsync_names, named_in)  # each once

    def _each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> dict[Item, Result]:
        """Results by item; all are tried before the first failure is raised.

        A share for each thread, not a task for each item: to hand over one costs more than to write a file.
        """
        everything = list(items)
        shares = [share for n in range(N_SIDE_BY_SIDE) if (share := everything[n::N_SIDE_BY_SIDE])]
        running = [self._side_by_side.submit(_one_by_one, work, share) for share in shares]
        wait(running)
        return {item: result for one in running for item, result in one.result()}

    def _get(self, sha256: str) -> bytes:
        try:
            return self._read(sha256)
        except StoreError:
            self._opened.require()
            raise

    def _read(self, sha256: str) -> bytes:
        payload = read_if_there(_place(self._images, sha256))
        if payload is None:
            raise CorruptStore(
                f"the file of image {sha256} is missing", logged="the file of an image is missing"
            )
        return payload

    def _stored(self) -> list[str]:
        with translated():
            found: set[str] = set()
            for path in self._paths():
                if path.name.startswith(TMP_PREFIX):
                    self._files.remove(path)
                else:
                    found.add(path.name.partition("-")[0])
            return sorted(found)

    def _sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        with self._opened.required(), translated():
            found = {sha256: size_of(_place(self._images, sha256)) for sha256 in sha256s}
        return {sha256: n_bytes for sha256, n_bytes in found.items() if n_bytes}  # none is empty

    def _remove(self, sha256s: Sequence[str]) -> None:
        with self._opened.required(), translated():
            for sha256 in sha256s:
                self._files.remove(_place(self._images, sha256))
                for path in _place(self._thumbnails, sha256).parent.glob(f"{sha256}-*"):
                    self._files.remove(path)

    def _paths(self) -> list[Path]:
        return [*self._images.glob("*/*"), *self._thumbnails.glob("*/*")]

    def _thumbnail(self, sha256: str, size_px: int) -> Path:
        return _place(self._thumbnails, sha256).with_name(f"{sha256}-{size_px}")


def _one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> list[tuple[Item, Result]]:
    """Results of all; raises the first failure once all have been tried."""
    results, failures = list[tuple[Item, Result]](), list[Exception]()
    for item in items:
        try:
            results.append((item, work(item)))
        except Exception as error:  # raised below
            failures.append(error)
    if failures:
        raise failures[0]
    return results


def _place(root: Path, sha256: str) -> Path:
    return root / sha256[:2] / sha256
