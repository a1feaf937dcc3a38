"""Write, read and remove whole files within a quota; knows nothing of what is in them or why."""

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
N_STAGED = 32  # files that are open at a time


@dataclass(frozen=True)
class Staged:
    """A file that is written and open, under a name that means nothing."""

    path: Path  # whose name it shall have
    temporary: Path
    descriptor: int
    n_bytes: int
    n_replaced: int  # bytes of what has the name now


# Runs a function for every one of some files, side by side if it can; raises what one of them raised.
Each = Callable[[Callable[[Staged], None], list[Staged]], object]


class QuotedFiles:
    """Blocking, from any thread. Every method raises StoreError, StoreFull or StoreReadOnly."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    def count(self, files: Iterable[Path]) -> None:
        """Files that are there already."""
        with translated():
            for file in files:
                self._quota.count_file(size_of(file))

    def write(self, path: Path, payload: bytes) -> None:
        """What may be lost with the power, or be left empty: nothing waits for the disk."""
        staged = self._staged(path, payload)
        try:
            self._name(staged)
        except BaseException:
            self._drop(staged)
            raise

    def write_durably(self, files: Mapping[Path, bytes], each: Each) -> None:
        """All of them; `each` runs a function for every one, side by side, since disks sync many at once.

        All else is one thread's work: threads that take turns at short calls cost more than the calls. The
        names are on the disk once their folders, and where those are new the one above, were fsynced. After
        a failure nothing is left of a file but for those that have their names, whole.
        """
        rest = list(files.items())
        for start in range(0, len(rest), N_STAGED):
            self._write_durably(rest[start : start + N_STAGED], each)

    def remove(self, path: Path) -> None:
        """It may be missing."""
        with translated():
            n_bytes = size_of(path)
            with around("file_remove"):
                path.unlink(missing_ok=True)
            self._quota.give_file(n_bytes)

    def _write_durably(self, files: Sequence[tuple[Path, bytes]], each: Each) -> None:
        staged: list[Staged] = []
        try:
            for path, payload in files:
                staged.append(self._staged(path, payload))
            each(_sync, staged)
            while staged:
                self._name(staged[-1])
                staged.pop()
        except BaseException:
            for one in staged:
                self._drop(one)
            raise

    def _staged(self, path: Path, payload: bytes) -> Staged:
        with translated():
            n_replaced = size_of(path)
        self._quota.take_file(len(payload))
        temporary = path.with_name(f"{TMP_PREFIX}{uuid.uuid4().hex}")
        try:
            with translated():
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

    def _name(self, staged: Staged) -> None:
        with translated():
            with around("file_rename"):
                staged.temporary.replace(staged.path)
            os.close(staged.descriptor)
        self._quota.give_file(staged.n_replaced)

    def _drop(self, staged: Staged) -> None:
        _discard(staged)
        self._quota.give_file(staged.n_bytes)


def translated() -> AbstractContextManager[None]:
    """Errors of the operating system as ours."""
    return file_errors_translated("the image files failed")


def size_of(path: Path) -> int:
    """In bytes; 0 when it is missing."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fsync_names(folder: Path) -> None:
    """Wait until the names in it are on the disk."""
    with translated():
        fsync_folder(folder)


def read_if_there(path: Path) -> bytes | None:
    """None when it is missing."""
    with translated():
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether the file is there and has the content that its name promises."""
    payload = read_if_there(path)
    return payload is not None and hashlib.sha256(payload).hexdigest() == sha256


def _new_file(path: Path) -> int:
    """Open for writing, in its folder, which is made if it is not there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, FILE_MODE)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, exist_ok=True)  # exist_ok: another thread may be as far
        return os.open(path, flags, FILE_MODE)


def _write_all(descriptor: int, payload: bytes) -> None:
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(staged: Staged) -> None:
    with translated(), around("file_fsync"):
        os.fsync(staged.descriptor)


def _discard(staged: Staged) -> None:
    with suppress(OSError):
        os.close(staged.descriptor)
    with suppress(OSError):  # what stopped it may stop this too; the next start removes it
        staged.temporary.unlink(missing_ok=True)
