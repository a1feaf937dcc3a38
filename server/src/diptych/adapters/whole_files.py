"""Write, read and remove whole files within a quota; knows nothing of what is in them or why."""

import hashlib
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from diptych.adapters.quota import Quota
from diptych.adapters.refused_writes import file_errors_translated
from diptych.bundle.durable import fsync_folder, write_durably
from diptych.bundle.failpoints import around

TMP_PREFIX = ".tmp-"


class QuotedFiles:
    """Blocking, from any thread. Every method raises StoreError, StoreFull or StoreReadOnly."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    def count(self, files: Iterable[Path]) -> None:
        """Files that are there already."""
        with translated():
            for file in files:
                self._quota.count_file(size_of(file))

    def write(self, path: Path, payload: bytes, *, durably: bool = True) -> None:
        """As `write_whole`."""
        with translated():
            before = size_of(path)
        self._quota.take_file(len(payload))
        try:
            write_whole(path, payload, durably=durably)
        except BaseException:
            self._quota.give_file(len(payload))
            raise
        self._quota.give_file(before)

    def remove(self, path: Path) -> None:
        """It may be missing."""
        with translated():
            n_bytes = size_of(path)
            with around("file_remove"):
                path.unlink(missing_ok=True)
            self._quota.give_file(n_bytes)


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


def is_whole(path: Path, sha256: str, n_bytes: int) -> bool:
    """Whether the file has the content its name promises."""
    with translated():
        if not path.is_file() or path.stat().st_size != n_bytes:
            return False
    payload = read_if_there(path)
    return payload is not None and hashlib.sha256(payload).hexdigest() == sha256


def write_whole(path: Path, payload: bytes, *, durably: bool = True) -> None:
    """Bytes first, then the name; an interrupted write leaves only a .tmp file.

    The name is on the disk once its folder, and where that is new the one above, were fsynced. Unless
    `durably`, the file may be lost with the power, or be left empty.
    """
    temporary = path.with_name(f"{TMP_PREFIX}{uuid.uuid4().hex}")
    with translated():
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)  # exist_ok: another thread may be as far
            if durably:
                write_durably(temporary, payload)
            else:
                temporary.write_bytes(payload)
            with around("file_rename"):
                temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
