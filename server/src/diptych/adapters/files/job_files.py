"""Keep the inputs of jobs, a file each, until they have ended; knows nothing of what is in them."""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import FILE_MODE, narrow
from diptych.adapters.files.quota import Quota
from diptych.durable import fsync_folder
from diptych.errors import CorruptStore, Overloaded, StoreFull
from diptych.failpoints import around

TMP_PREFIX = ".tmp-"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL
RETRY_S = 30.0


class _Room:
    """The bytes of all inputs, those that are still coming included, and what they may be together."""

    def __init__(self, quota: Quota, max_bytes: int) -> None:
        self._quota = quota
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._lock = threading.Lock()

    def count(self, n_bytes: int) -> None:
        """Count a file that was there before the start."""
        self._quota.count_file(n_bytes)
        with self._lock:
            self._n_bytes += n_bytes

    def take(self, n_bytes: int) -> None:
        """Claim bytes before they are written. Raises Overloaded, StoreFull."""
        with self._lock:
            if self._n_bytes + n_bytes > self._max_bytes:
                message = (
                    f"the inputs of jobs have {self._n_bytes} bytes together, limit is {self._max_bytes}"
                )
                raise Overloaded(message, RETRY_S)
            self._n_bytes += n_bytes
        try:
            self._quota.take_file(n_bytes)
        except StoreFull:
            self._forget(n_bytes)
            raise

    def give(self, n_bytes: int) -> None:
        """Free the bytes of an input that was removed."""
        self._quota.give_file(n_bytes)
        self._forget(n_bytes)

    def _forget(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes -= n_bytes


class JobFile:
    """Satisfies `diptych.core.jobs.ports.JobInput`: a temporary file, renamed once it is on the disk."""

    def __init__(self, folder: Path, id: str, room: _Room) -> None:
        self.id = id
        self._room = room
        self.n_bytes = 0
        self._n_taken = 0  # of the room
        self._file = folder / f"{TMP_PREFIX}{id}"
        self._final = folder / id
        self._finished = False
        self._lock = threading.Lock()  # a caller that is cancelled closes it while it is being finished
        with _translated():
            self._descriptor = os.open(self._file, _FLAGS, FILE_MODE)

    async def write(self, chunk: bytes | bytearray) -> None:
        """Append. The chunk must not change meanwhile."""
        await asyncio.to_thread(self._write, chunk)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """What was written there; fewer bytes at the end. Blocking."""
        with _translated():
            return os.pread(self._descriptor, n_bytes, offset)

    async def finish(self) -> None:
        """Bytes, name, folder, in this order."""
        await asyncio.to_thread(self._finish)

    async def close(self) -> None:
        """Remove it, unless it is finished."""
        await asyncio.to_thread(self._close)

    def _write(self, chunk: bytes | bytearray) -> None:
        self._room.take(len(chunk))
        self._n_taken += len(chunk)
        with _translated(), memoryview(chunk) as view:
            done = 0
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
            self.n_bytes += done

    def _finish(self) -> None:
        with self._lock, _translated():
            with around("input_fsync"):
                os.fsync(self._descriptor)
            with around("input_rename"):
                self._file.replace(self._final)
            fsync_folder(self._final.parent, "input_folder_fsync")
            self._finished = True

    def _close(self) -> None:
        with self._lock, _translated():
            os.close(self._descriptor)
            if not self._finished:
                self._file.unlink(missing_ok=True)
                self._room.give(self._n_taken)


class JobFiles:
    """`<data_dir>/jobs/<id>`. Satisfies `diptych.core.jobs.ports.JobInputs`."""

    def __init__(self, data_dir: Path, quota: Quota | None = None, max_bytes: int = sys.maxsize) -> None:
        """Blocking. Raises StoreError; all inputs are counted, and have at most `max_bytes` together."""
        self._room = _Room(quota or Quota(), max_bytes)
        self._folder = data_dir / "jobs"
        with _translated():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            narrow(self._folder)
            fsync_folder(data_dir)
            for path in self._folder.iterdir():
                self._room.count(path.stat().st_size)

    async def create(self, id: str) -> JobFile:
        """An empty one."""
        return await asyncio.to_thread(JobFile, self._folder, id, self._room)

    async def read(self, id: str, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces of (offset, bytes). Raises CorruptStore when the input is gone or shorter."""
        return await asyncio.to_thread(self._read, id, pieces) if pieces else []

    async def keep_only(self, ids: set[str]) -> None:
        """Remove all other inputs, and what broken ones left."""
        await asyncio.to_thread(self._keep_only, ids)

    async def remove(self, id: str) -> None:
        """One that is not there is fine."""
        await asyncio.to_thread(self._remove, id)

    def _read(self, id: str, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        with _translated():
            try:
                with (self._folder / id).open("rb") as file:
                    found = [os.pread(file.fileno(), n_bytes, offset) for offset, n_bytes in pieces]
            except FileNotFoundError:
                raise CorruptStore(
                    "the input of the job is gone (backups have none): send what has no outcome again"
                ) from None
        if any(len(one) != n_bytes for one, (_, n_bytes) in zip(found, pieces, strict=True)):
            raise CorruptStore("the input of the job is cut off")
        return found

    def _keep_only(self, ids: set[str]) -> None:
        with _translated():
            for path in list(self._folder.iterdir()):
                if path.name not in ids:
                    self._remove(path.name)

    def _remove(self, name: str) -> None:
        path = self._folder / name
        with _translated():
            if path.exists():
                n_bytes = path.stat().st_size
                with around("input_remove"):
                    path.unlink()
                self._room.give(n_bytes)


def _translated() -> AbstractContextManager[None]:
    return file_errors_translated("the inputs of jobs failed")
