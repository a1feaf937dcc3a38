"""Keeps the input of each job in a file until the job has ended."""

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


class _InputBudget:
    """Counts the bytes of all inputs, including those still being uploaded, against their limit and the
    quota.
    """

    def __init__(self, quota: Quota, max_bytes: int) -> None:
        self._quota = quota
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._lock = threading.Lock()

    def count(self, n_bytes: int) -> None:
        """Count a file that existed before the start."""
        self._quota.count_file(n_bytes)
        with self._lock:
            self._n_bytes += n_bytes

    def take(self, n_bytes: int) -> None:
        """Reserve bytes before they are written. Raises Overloaded, StoreFull."""
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
        """Release the bytes of an input that was removed."""
        self._quota.give_file(n_bytes)
        self._forget(n_bytes)

    def _forget(self, n_bytes: int) -> None:
        with self._lock:
            self._n_bytes -= n_bytes


class JobFile:
    """The input of one job: a temporary file that is renamed once it is on the disk.

    Satisfies `diptych.core.jobs.ports.JobInput`.
    """

    def __init__(self, folder: Path, id: str, budget: _InputBudget) -> None:
        self.id = id
        self._budget = budget
        self.n_bytes = 0
        self._n_taken = 0  # from the budget
        self._file = folder / f"{TMP_PREFIX}{id}"
        self._final = folder / id
        self._finished = False
        self._lock = threading.Lock()  # a cancelled call closes the file while another thread finishes it
        with _translated():
            self._descriptor = os.open(self._file, _FLAGS, FILE_MODE)

    async def write(self, chunk: bytes | bytearray) -> None:
        """Append a chunk, which must not change meanwhile."""
        await asyncio.to_thread(self._write, chunk)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """The bytes at an offset; fewer at the end. Blocking."""
        with _translated():
            return os.pread(self._descriptor, n_bytes, offset)

    async def finish(self) -> None:
        """Make the file durable: fsync its bytes, rename it, fsync its folder."""
        await asyncio.to_thread(self._finish)

    async def close(self) -> None:
        """Close the file; remove it unless it is finished."""
        await asyncio.to_thread(self._close)

    def _write(self, chunk: bytes | bytearray) -> None:
        self._budget.take(len(chunk))
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
                self._budget.give(self._n_taken)


class JobFiles:
    """The inputs of all jobs, `<data_dir>/jobs/<id>`. Satisfies `diptych.core.jobs.ports.JobInputs`."""

    def __init__(
        self,
        data_dir: Path,
        quota: Quota | None = None,
        max_bytes: int = sys.maxsize,
        *,
        read_only: bool = False,
    ) -> None:
        """Open the folder and count all inputs, which may have `max_bytes` together.

        Blocking. With `read_only` the folder is not made, and no input may be. Raises StoreError.
        """
        self._budget = _InputBudget(quota or Quota(), max_bytes)
        self._folder = data_dir / "jobs"
        if read_only:
            return
        with _translated():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            narrow(self._folder)
            fsync_folder(data_dir)
            for path in self._folder.iterdir():
                self._budget.count(path.stat().st_size)

    async def create(self, id: str) -> JobFile:
        """Make an empty input."""
        return await asyncio.to_thread(JobFile, self._folder, id, self._budget)

    async def read(self, id: str, pieces: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read pieces, given as (offset, n_bytes).

        Raises CorruptStore if the input is missing or truncated.
        """
        return await asyncio.to_thread(self._read, id, pieces) if pieces else []

    async def keep_only(self, ids: set[str]) -> set[str]:
        """Remove all other inputs, and leftovers of interrupted uploads; return the ids that stay."""
        return await asyncio.to_thread(self._keep_only, ids)

    async def remove(self, id: str) -> None:
        """Remove an input, which may be missing."""
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

    def _keep_only(self, ids: set[str]) -> set[str]:
        with _translated():
            names = {path.name for path in self._folder.iterdir()}
            for name in names - ids:
                self._remove(name)
            return names & ids

    def _remove(self, name: str) -> None:
        path = self._folder / name
        with _translated():
            if path.exists():
                n_bytes = path.stat().st_size
                with around("input_remove"):
                    path.unlink()
                self._budget.give(n_bytes)


def _translated() -> AbstractContextManager[None]:
    return file_errors_translated("the inputs of jobs failed")
