"""Writes, reads and removes whole files within a quota; a file appears by one rename."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.private_files import FILE_MODE
from diptych.adapters.files.quota import Quota
from diptych.durable import fsync_folder
from diptych.failpoints import around

TMP_PREFIX = ".tmp-"
N_STAGED = 32  # files that are open at once


@dataclass(frozen=True)
class Staged:
    """A file that is written and still open, under a temporary name."""

    path: Path  # its final name
    temporary: Path
    descriptor: int
    n_bytes: int
    n_replaced: int  # bytes of the file that has the final name now


# Runs a function for each of some files, in parallel if possible; raises what one of the calls raised.
Each = Callable[[Callable[[Staged], None], list[Staged]], object]


class QuotedFiles:
    """Files whose bytes count against a quota. Blocking, from any thread.

    Every method raises StoreError, StoreFull or StoreReadOnly.
    """

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    def count(self, files: Iterable[Path]) -> None:
        """Count files that exist already against the quota."""
        with file_errors():
            for file in files:
                self._quota.count_file(size_of(file))

    def write(self, path: Path, payload: bytes) -> None:
        """Write a file without waiting for the disk: a loss of power may lose it, or leave it empty."""
        staged = self._stage(path, payload)
        try:
            self._rename(staged)
        except BaseException:
            self._drop(staged)
            raise

    def write_durably(self, files: Mapping[Path, bytes], each: Each) -> None:
        """Write files and wait until their bytes are on the disk.

        `each` runs the fsyncs in parallel, since disks sync many files at once. One thread does the rest: to
        hand short calls to other threads costs more than the calls. The names are durable once the caller has
        fsynced their folders, and the parent of those that are new. After a failure each file is either whole
        under its final name, or gone.
        """
        rest = list(files.items())
        for start in range(0, len(rest), N_STAGED):
            self._write_durably(rest[start : start + N_STAGED], each)

    def remove(self, path: Path) -> None:
        """Remove a file, which may be missing."""
        with file_errors():
            n_bytes = size_of(path)
            with around("file_remove"):
                path.unlink(missing_ok=True)
            self._quota.give_file(n_bytes)

    def _write_durably(self, files: Sequence[tuple[Path, bytes]], each: Each) -> None:
        staged: list[Staged] = []
        try:
            for path, payload in files:
                staged.append(self._stage(path, payload))
            each(_sync, staged)
            while staged:
                self._rename(staged[-1])
                staged.pop()
        except BaseException:
            for one in staged:
                self._drop(one)
            raise

    def _stage(self, path: Path, payload: bytes) -> Staged:
        with file_errors():
            n_replaced = size_of(path)
        self._quota.take_file(len(payload))
        temporary = path.with_name(f"{TMP_PREFIX}{uuid.uuid4().hex}")
        try:
            with file_errors():
                descriptor = _new_file(temporary)
                staged = Staged(path, temporary, descriptor, len(payload), n_replaced)
                try:
                    _write_all(descriptor, payload)
                except BaseException:
                    _discard(staged)
                    raise
        except BaseException:
            self._quota.give_file(len(payload))
            raise
        return staged

    def _rename(self, staged: Staged) -> None:
        with file_errors():
            with around("file_rename"):
                staged.temporary.replace(staged.path)
            os.close(staged.descriptor)
        self._quota.give_file(staged.n_replaced)

    def _drop(self, staged: Staged) -> None:
        _discard(staged)
        self._quota.give_file(staged.n_bytes)


def file_errors() -> AbstractContextManager[None]:
    """Raise errors of the operating system in the block as StoreError, StoreFull or StoreReadOnly."""
    return file_errors_translated("the image files failed")


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 if it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fsync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    with file_errors():
        fsync_folder(folder)


def read_if_there(path: Path) -> bytes | None:
    """The bytes of a file; None if it is missing."""
    with file_errors():
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether the file exists and its content has this sha256."""
    payload = read_if_there(path)
    return payload is not None and hashlib.sha256(payload).hexdigest() == sha256


def _new_file(path: Path) -> int:
    """Open a new file for writing; make its folder if that is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, FILE_MODE)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # exist_ok: another thread may make it, too
        return os.open(path, flags, FILE_MODE)


def _write_all(descriptor: int, payload: bytes) -> None:
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(staged: Staged) -> None:
    with file_errors(), around("file_fsync"):
        os.fsync(staged.descriptor)


def _discard(staged: Staged) -> None:
    with suppress(OSError):
        os.close(staged.descriptor)
    with suppress(OSError):  # may fail for the same reason; the next start removes the file
        staged.temporary.unlink(missing_ok=True)
