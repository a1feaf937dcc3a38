"""Keeps thumbnails of pictures in libraries, up to a number of bytes."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from diptych.adapters.files.atomic_files import TMP_PREFIX, QuotedFiles, file_errors, read_if_there, size_of
from diptych.adapters.files.private_files import narrow
from diptych.adapters.files.quota import Quota

MAX_BYTES = 4_000_000_000
KEPT_SHARE = 0.9  # of the bound, once it is reached: looking for the oldest takes a while


class PreviewFiles:
    """`<data_dir>/previews/ab/<sha256>-<size>`. Satisfies `diptych.core.libraries.ports.Previews`.

    The time of the last use is the time of modification of a file.
    """

    def __init__(
        self,
        data_dir: Path,
        quota: Quota | None = None,
        max_bytes: int = MAX_BYTES,
        *,
        read_only: bool = False,
    ) -> None:
        """Open the folder and count what is there, blocking. Raises StoreError.

        With `read_only` nothing is changed, not even the times of use.
        """
        self._folder = data_dir / "previews"
        self._files = QuotedFiles(quota or Quota())
        self._max_bytes = max_bytes
        self._read_only = read_only
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="previews")
        with file_errors():
            if not read_only:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                narrow(self._folder)
            for leftover in self._folder.glob(f"*/{TMP_PREFIX}*"):
                leftover.unlink(missing_ok=True)
            paths = list(self._folder.glob("*/*"))
            self._n_bytes = sum(map(size_of, paths))
        self._files.count(paths)

    async def get(self, sha256: str, size_px: int) -> bytes | None:
        """The kept thumbnail, or None."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, sha256, size_px)

    async def put(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        """Keep a thumbnail; those that were not used for the longest time make room. Raises StoreError."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._put, sha256, size_px, thumbnail)

    async def remove(self, sha256s: Sequence[str]) -> None:
        """Delete all thumbnails of these pictures."""
        if sha256s:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._remove_all, sha256s)

    def _get(self, sha256: str, size_px: int) -> bytes | None:
        path = self._path(sha256, size_px)
        found = read_if_there(path)
        if found and not self._read_only:
            with suppress(OSError):
                os.utime(path)
        return found or None  # a loss of power may leave an empty file

    def _put(self, sha256: str, size_px: int, thumbnail: bytes) -> None:
        path = self._path(sha256, size_px)
        n_before = size_of(path)
        self._files.write(path, thumbnail)
        self._n_bytes += len(thumbnail) - n_before
        if self._n_bytes > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        used = sorted((path.stat().st_mtime_ns, path) for path in self._folder.glob("*/*"))
        for _, path in used:
            if self._n_bytes <= KEPT_SHARE * self._max_bytes:
                return
            self._remove([path])

    def _remove_all(self, sha256s: Sequence[str]) -> None:
        for sha256 in sha256s:
            self._remove((self._folder / sha256[:2]).glob(f"{sha256}-*"))

    def _remove(self, paths: Iterable[Path]) -> None:
        with file_errors():
            for path in paths:
                n_bytes = size_of(path)
                self._files.remove(path)
                self._n_bytes -= n_bytes

    def _path(self, sha256: str, size_px: int) -> Path:
        return self._folder / sha256[:2] / f"{sha256}-{size_px}"
