"""Copies and checks many content-addressed image files at once, for backups."""

import errno
import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from diptych.adapters.files.atomic_files import TMP_PREFIX, size_of
from diptych.adapters.files.private_files import make_new
from diptych.core.backup import Fault, File, Outcomes
from diptych.durable import fsync_folder, write_durably

N_THREADS = 8  # fsyncs of several files overlap on the disk
N_AHEAD = 256  # files taken from the iterator at once


class ImageTree:
    """A folder of image files in the layout of `ImageFiles`: `<root>/ab/<sha256>`. Raises OSError.

    A copied file appears by one rename, after its bytes were compared with its sha256 and are on the disk.
    Its name is durable after `sync`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """The path of this file, whether it exists or not."""
        return self._root / sha256[:2] / sha256

    def paths(self) -> Iterator[Path]:
        """All files, leftovers of interrupted copies included."""
        return self._root.glob("*/*")

    def read(self, sha256: str) -> bytes | Fault:
        """The content of a file whose sha256 is right; else what is wrong.

        A read error (EIO) counts as damage.
        """
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return "damaged"
        return content if hashlib.sha256(content).hexdigest() == sha256 else "damaged"

    def check(self, files: Iterable[File]) -> Outcomes:
        """Read each file; return what is wrong with it, if anything."""
        return _in_parallel(self._fault, files)

    def copy(self, source: "ImageTree", files: Iterable[File], *, trusted: bool) -> Outcomes:
        """Copy files that are missing here or have another size; unless `trusted`, damaged files too."""
        return _in_parallel(partial(self._copy, source, trusted), files)

    def sync(self) -> None:
        """Wait until the names of all files are on the disk, including those of a killed copy."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        with ThreadPoolExecutor(N_THREADS) as pool:
            list(pool.map(fsync_folder, folders))
        fsync_folder(self._root)
        fsync_folder(self._root.parent)

    def _copy(self, source: "ImageTree", trusted: bool, file: File) -> Fault | None:
        sha256, n_bytes = file
        path = self.path(sha256)
        if size_of(path) == n_bytes and (trusted or self._fault(file) is None):
            return None
        content = source.read(sha256)
        if isinstance(content, str):
            return content
        for folder in (self._root, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f"{TMP_PREFIX}{uuid.uuid4().hex}")
        try:
            make_new(temporary)
            write_durably(temporary, content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return None

    def _fault(self, file: File) -> Fault | None:
        content = self.read(file[0])
        return content if isinstance(content, str) else None


def _in_parallel(work: Callable[[File], Fault | None], files: Iterable[File]) -> Outcomes:
    """Run `work` on the files in parallel; return the outcomes in order."""
    rest = iter(files)
    with ThreadPoolExecutor(N_THREADS, thread_name_prefix="image-tree") as pool:
        while batch := list(islice(rest, N_AHEAD)):
            yield from zip([sha256 for sha256, _ in batch], pool.map(work, batch), strict=True)
