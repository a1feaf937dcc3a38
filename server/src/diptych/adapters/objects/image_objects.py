"""Keeps image files and thumbnails as objects, under the sha256 of the image."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from hashlib import md5
from secrets import token_hex
from typing import TypeVar

from diptych.adapters.files.unused_files import GRACE_S
from diptych.adapters.objects.bucket import IMAGES, THUMBNAILS, Bucket, Object
from diptych.core.backup import Fault
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import CorruptStore

N_READERS = 8  # concurrent reads and listings
N_WRITERS = 8  # concurrent puts
N_PROBES = 2  # which wait for none of the above
_NAME = re.compile(rf"(?:{IMAGES}|{THUMBNAILS})/../([0-9a-f]{{64}})(?:/[^/]+)?")  # objects of others stay

Item = TypeVar("Item")
Result = TypeVar("Result")


class ImageObjects:
    """`images/ab/<sha256>/<a name of its own>` and `thumbnails/ab/<sha256>/<size>`.

    Satisfies `core.collections.stored.ports.ImageStore`. Several servers use the objects. A sweep must not
    remove what another server is about to use, and a store has neither renames nor, commonly, conditional
    deletes. So no name is written twice: each put writes an object of its own, and each removal names objects
    that a listing has shown, however late it arrives.

    - An object is removed only if a listing has shown it older than GRACE_S, by the clock of the store, and
      the database, asked after that, knows no row of its image.
    - A row that is committed before the database is asked is seen.
    - A row that is committed later belongs to an add that has put an object of its own, less than GRACE_S
      before: the listing has not shown that as old. So it stays.
    - Of several objects of one image, a sweep keeps the newest of the old ones, and all younger ones.

    `images/ab/<sha256>`, as in a copy of a folder of image files, is read too, and never written.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Sends no request."""
        self._bucket = bucket
        self._readers = ThreadPoolExecutor(max_workers=N_READERS, thread_name_prefix="object-read")
        self._writers = ThreadPoolExecutor(max_workers=N_WRITERS, thread_name_prefix="object-write")
        self._probes = ThreadPoolExecutor(max_workers=N_PROBES, thread_name_prefix="object-probe")
        self._listed: dict[str, list[str]] = {}  # old objects of the last page, by sha256

    async def require_available(self) -> None:
        """Raises StoreUnavailable while the object store is out of reach, or is another one."""
        await asyncio.get_running_loop().run_in_executor(self._probes, self._bucket.require)

    async def require_writable(self) -> None:
        """As `require_available`, by one request."""
        probe = partial(self._bucket.require, waits=False)
        await asyncio.get_running_loop().run_in_executor(self._probes, probe)

    async def put(self, payloads: dict[str, bytes], *, are_used: bool = False) -> None:
        """Store files (sha256 -> bytes); all of them are durable and whole when this returns.

        Nothing is read. With `are_used`, what the store lists with the right size and MD5 is not written
        again; elsewhere that could be too old to rely on.
        """

        def put_one(item: tuple[str, bytes]) -> None:
            sha256, payload = item
            if not (are_used and any(_is_whole(one, payload) for one in self._objects(sha256))):
                self._bucket.put(f"{_folder(IMAGES, sha256)}/{_new_name()}", payload)

        await self._each(self._writers, put_one, payloads.items())

    async def get(self, sha256: str) -> bytes:
        """The bytes of a file, whose sha256 was checked. Raises CorruptStore if it is missing or damaged."""
        return await self._read(lambda: self._get(sha256))

    async def get_thumbnail(self, sha256: str, size_px: int) -> bytes | None:
        """The stored thumbnail; None if there is none."""
        return await self._read(lambda: self._bucket.get(f"{_folder(THUMBNAILS, sha256)}/{size_px}"))

    async def put_thumbnail(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Store a thumbnail."""
        await self._read(lambda: self._bucket.put(f"{_folder(THUMBNAILS, sha256)}/{size_px}", thumbnail))

    async def stored(self) -> AsyncIterator[Sequence[str]]:
        """The sha256 of all images that have an old object or thumbnail, in pages.

        Removes old objects of images that have a newer old one.
        """
        before = await self._read(self._bucket.now) - timedelta(seconds=GRACE_S)
        for folder in (IMAGES, THUMBNAILS):
            pages = self._bucket.pages(folder)
            while page := await self._read(lambda: next(pages, None)):  # noqa: B023 - called at once
                old = _old(page, before)
                if folder == IMAGES:
                    await self._remove_superseded(old)
                self._listed = {sha256: [one.name for one in found] for sha256, found in old.items()}
                yield sorted(old)
        self._listed = {}

    async def sizes(self, sha256s: Sequence[str]) -> dict[str, int]:
        """The sizes in bytes of those files that exist. Their content is not checked."""
        found = await self._each(self._readers, lambda sha256: (sha256, self._size(sha256)), sha256s)
        return {sha256: n_bytes for sha256, n_bytes in found if n_bytes}

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete the objects that the last page of `stored` has shown. Others stay until they are old."""
        names = [name for sha256 in sha256s for name in self._listed.get(sha256, ())]
        await self._read(lambda: self._bucket.delete(names))

    def _get(self, sha256: str) -> bytes:
        found = ObjectReader(self._bucket).read(sha256)
        if isinstance(found, bytes):
            return found
        raise CorruptStore(
            f"the file of image {sha256} is {found}: add the image again",
            logged=f"the object of an image is {found}",
        )

    def _objects(self, sha256: str) -> list[Object]:
        return _objects_of(self._bucket, sha256)

    def _size(self, sha256: str) -> int | None:
        found = self._objects(sha256)
        return found[0].n_bytes if found else self._bucket.size(_folder(IMAGES, sha256))

    async def _remove_superseded(self, old: Mapping[str, list[Object]]) -> None:
        """Remove all but the newest object of each image, and forget them."""
        superseded = list[str]()
        for found in old.values():
            found.sort(key=_written)
            superseded += [one.name for one in found[:-1]]
            del found[:-1]
        await self._read(lambda: self._bucket.delete(superseded))

    async def _read(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def _each(
        self, pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> list[Result]:
        """Run `work` on all items in parallel; raise the first failure at the end."""
        loop = asyncio.get_running_loop()
        running = [loop.run_in_executor(pool, work, item) for item in items]
        found = await asyncio.gather(*running, return_exceptions=True)
        results = list[Result]()
        for one in found:
            if isinstance(one, BaseException):
                raise one
            results.append(one)
        return results


class ObjectReader:
    """Reads image files of a bucket. Satisfies `adapters.backup.parquet_export.ImageReader`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, sha256: str) -> bytes | Fault:
        """The content of a file whose sha256 is right; else what is wrong. Blocking. Raises StoreError."""
        is_damaged = False
        for name in self._names(sha256):
            payload = self._bucket.get(name)
            if payload is not None and sha256_of(payload) == sha256:
                return payload
            is_damaged |= payload is not None
        return "damaged" if is_damaged else "missing"

    def _names(self, sha256: str) -> Iterator[str]:
        """Where the image may be, the newest object first. A sweep may remove an object that was listed."""
        listed = set[str]()
        while new := [one.name for one in _objects_of(self._bucket, sha256) if one.name not in listed]:
            listed.update(new)
            yield from new
        yield _folder(IMAGES, sha256)


def _objects_of(bucket: Bucket, sha256: str) -> list[Object]:
    """The objects of an image, the newest first."""
    found = [one for page in bucket.pages(_folder(IMAGES, sha256)) for one in page]
    return sorted(found, key=_written, reverse=True)


def _old(page: Iterable[Object], before: datetime) -> dict[str, list[Object]]:
    """Those of the objects that are older, by the sha256 of their image."""
    found = dict[str, list[Object]]()
    for one in page:
        if one.modified < before and (name := _NAME.fullmatch(one.name)):
            found.setdefault(name[1], []).append(one)
    return found


def _new_name() -> str:
    """A name that no other object has; in the order of time, as far as clocks agree."""
    return f"{time.time_ns():016x}-{token_hex(4)}"


def _written(one: Object) -> tuple[datetime, str]:
    return one.modified, one.name  # stores tell seconds


def _is_whole(one: Object, payload: bytes) -> bool:
    """Whether the store says that an object has these bytes, by the MD5 that most stores use as ETag."""
    return one.n_bytes == len(payload) and one.etag == f'"{md5(payload, usedforsecurity=False).hexdigest()}"'


def _folder(root: str, sha256: str) -> str:
    return f"{root}/{sha256[:2]}/{sha256}"
