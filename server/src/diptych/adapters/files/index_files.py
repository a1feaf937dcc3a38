"""The files of indexes in a data folder: a cache, which may be removed at any time.

An index has a file NAME.ivf, which appears by one rename, and a file of float32 rows NAME-*.rows, which
NAME.ivf refers to by its name. A file of rows is appended to while the index is used, and replaced with the
index by one of another name.
"""

import logging
import os
import uuid
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np

from diptych.adapters.files.disk_errors import file_errors_translated
from diptych.adapters.files.quota import Quota
from diptych.core.types import Embeddings
from diptych.durable import fsync_folder
from diptych.failpoints import around

LOG = logging.getLogger("diptych.index")
FOLDER = "index"
FILE_MODE = 0o600
CLOSED = -1  # a descriptor that no call takes

# Raises StoreFull or Conflict unless so many bytes of disk are free: see `core.rollout.ports.FreeSpace`.
RequireSpace = Callable[[int], object]


def index_errors() -> AbstractContextManager[None]:
    """Raise errors of the operating system in the block as StoreError, StoreFull or StoreReadOnly."""
    return file_errors_translated("the files of an index failed")


class IndexFiles:
    """The folder of the files of all indexes. Its bytes count against the quota of the data folder."""

    def __init__(
        self,
        folder: Path,
        quota: Quota,
        require_space: RequireSpace,
        *,
        read_only: bool = False,
        note: Callable[[], object] = lambda: None,
    ) -> None:
        """`read_only`: files can be read, no other is made, and none is removed. `note` makes durable up to
        which write the files that appear next may know the database. It raises StoreError.
        """
        self._folder, self.quota, self._require_space = folder, quota, require_space
        self._note = note
        self.read_only = read_only
        for path in self._all():
            quota.count_file(path.stat().st_size)

    def new_rows(self, name: str, n_bytes: int) -> "RowFile":
        """Make an empty file of rows for the index of this name, whose files will have so many bytes.

        Raises StoreError, and what says that there is no room for them.
        """
        assert not self.read_only, "nothing is trained"
        self._require_space(n_bytes)
        with index_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
        return RowFile(self._folder / f"{name}-{uuid.uuid4().hex[:12]}.rows", self.quota, is_new=True)

    def rows(self, name: str) -> "RowFile":
        """Open an existing file of rows. Raises StoreError."""
        return RowFile(self._folder / Path(name).name, self.quota, read_only=self.read_only)

    def index(self, name: str) -> Path:
        """The file of the index of this name, which may be missing."""
        return self._folder / f"{name}.ivf"

    def write(self, path: Path, write: Callable[[Path], object], sync: Callable[[], object]) -> None:
        """Let `write` fill a temporary file, and let it appear at `path` once `sync` has made durable what it
        refers to. Raises StoreError.
        """
        temporary = path.with_name(f"{path.stem}-{uuid.uuid4().hex}.tmp")
        try:
            with index_errors():
                with around("index_write"):
                    write(temporary)
                sync()
                self._note()
                descriptor = os.open(temporary, os.O_RDONLY)
                try:
                    with around("index_fsync"):
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self.quota.take_file(temporary.stat().st_size)
                n_replaced = path.stat().st_size if path.exists() else 0
                with around("index_rename"):
                    temporary.replace(path)
                self.quota.give_file(n_replaced)
                fsync_folder(self._folder)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str, *, but: Collection[str] = ()) -> None:
        """Remove the files of an index, except those of the names `but`."""
        for path in self._all():
            if path.name not in but and (path.stem == name or path.name.startswith(f"{name}-")):
                self._remove(path)

    def forget(self, name: str) -> None:
        """Remove the files of an index whose file of rows is gone, unless another one has the name by now."""
        if not any(path.name.startswith(f"{name}-") for path in self._all()):
            self.remove(name)

    def keep_only(self, names: Collection[str]) -> None:
        """Remove the files of all other indexes than these."""
        for path in self._all():
            if path.stem.partition("-")[0] not in names:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        with index_errors(), suppress(FileNotFoundError):  # another thread may remove it, too
            n_bytes = path.stat().st_size
            with around("index_remove"):
                path.unlink()
            self.quota.give_file(n_bytes)

    def _all(self) -> list[Path]:
        """The files that count and may be removed; a read-only folder may not even be listed."""
        return sorted(self._folder.iterdir()) if not self.read_only and self._folder.is_dir() else []


class RowFile:
    """A file of rows: written at its end unless it is `read_only`, and mapped chunk by chunk."""

    def __init__(self, path: Path, quota: Quota, *, is_new: bool = False, read_only: bool = False) -> None:
        self.path, self._quota, self.read_only = path, quota, read_only
        flags = os.O_RDONLY if read_only else os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0)
        with index_errors():
            self._descriptor = os.open(path, flags, FILE_MODE)

    @property
    def n_bytes(self) -> int:
        """The size of the file. Raises StoreError."""
        with index_errors():
            return os.fstat(self._descriptor).st_size

    def mapped(self, number: int, shape: tuple[int, int]) -> Embeddings:
        """Map a chunk of this shape for reading; the file grows if it ends before. Raises StoreError."""
        n_bytes = 4 * shape[0] * shape[1]
        with index_errors():
            missing = (number + 1) * n_bytes - os.fstat(self._descriptor).st_size
            if missing > 0:
                self._quota.take_file(missing)
                os.ftruncate(self._descriptor, (number + 1) * n_bytes)
            return np.asarray(np.memmap(self.path, np.float32, "r", number * n_bytes, shape))

    def write(self, rows: Embeddings, offset: int) -> None:
        """Write rows at an offset in bytes. Raises StoreError."""
        rest = memoryview(rows.view(np.uint8).data).cast("B")
        with index_errors():
            while rest:
                n_bytes = os.pwrite(self._descriptor, rest, offset)
                rest, offset = rest[n_bytes:], offset + n_bytes

    def sync(self) -> None:
        """Wait until all rows are on the disk. Raises StoreError."""
        with index_errors(), around("index_rows_fsync"):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, once or more often; what is mapped stays mapped."""
        if self._descriptor != CLOSED:
            os.close(self._descriptor)
        self._descriptor = CLOSED

    def discard(self) -> None:
        """Close and remove the file; what is mapped stays mapped."""
        self.close()
        if self.read_only:
            return
        with suppress(OSError):
            n_bytes = self.path.stat().st_size
            self.path.unlink()
            self._quota.give_file(n_bytes)
