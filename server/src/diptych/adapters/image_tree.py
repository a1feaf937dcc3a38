"""Copy and check many content-addressed image files at once; knows nothing of who uses them."""

import errno
import hashlib
import os
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from diptych.adapters.private_files import make_new
from diptych.adapters.whole_files import TMP_PREFIX
from diptych.bundle.durable import fsync_folder
from diptych.core.backup import Fault, Outcomes

N_THREADS = 8  # fsyncs of several files overlap on the disk
N_WAITING = 64
CHUNK_BYTES = 1 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


class ImageTree:
    """`<root>/ab/<sha256>`, as `adapters.image_files` keeps them. Raises OSError when the disk refuses.

    A file appears by one rename, after its bytes were compared with its name and are on the disk. Its name
    is there for good after `sync`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """Where this file is, or would be."""
        return self._root / sha256[:2] / sha256

    def read(self, sha256: str) -> bytes | None:
        """The content, None when the file is missing or damaged."""
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def sizes(self, prefix: str) -> dict[str, int]:
        """Name -> bytes of the files whose names begin with these two digits."""
        try:
            with os.scandir(self._root / prefix) as entries:
                return {e.name: e.stat().st_size for e in entries if not e.name.startswith(TMP_PREFIX)}
        except FileNotFoundError:
            return {}

    def copy(self, source: "ImageTree", sha256s: Iterable[str], *, trusted: bool) -> Outcomes:
        """Copy those from `source`. A file that is here already is kept if it is whole, or `trusted`."""
        return _in_parallel(partial(self._copy, source, trusted), sha256s)

    def check(self, files: Iterable[str]) -> Outcomes:
        """Read them: what is wrong with each."""
        return _in_parallel(self._fault, files)

    def keep_only(self, prefix: str, names: Collection[str]) -> None:
        """Remove all else that begins so, with what broken copies left behind."""
        try:
            found = list((self._root / prefix).iterdir())
        except FileNotFoundError:
            return
        for path in found:
            if path.name not in names:
                path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Wait until the names of all files are on the disk, those too that a killed copy put here."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        for _ in _in_parallel(fsync_folder, [path for path in self._root.iterdir() if path.is_dir()]):
            pass
        fsync_folder(self._root)
        fsync_folder(self._root.parent)

    def _copy(self, source: "ImageTree", trusted: bool, sha256: str) -> Fault | None:
        path = self.path(sha256)
        if not trusted and self._fault(sha256) is None:
            return None
        for folder in (self._root, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        return _copy_checked(source.path(sha256), path, sha256)

    def _fault(self, sha256: str) -> Fault | None:
        try:
            with self.path(sha256).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return _unreadable(error)
        return None if digest == sha256 else "damaged"


def _copy_checked(source: Path, target: Path, sha256: str) -> Fault | None:
    """Bytes are compared with the name on their way, so that a damaged file is never copied."""
    temporary = target.with_name(f"{TMP_PREFIX}{uuid.uuid4().hex}")
    try:
        make_new(temporary)
        with temporary.open("wb") as copy:
            fault = _write(source, sha256, copy.write)
            if fault is None:
                copy.flush()
                os.fsync(copy.fileno())
        if fault is None:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return fault


def _write(source: Path, sha256: str, write: Callable[[bytes], object]) -> Fault | None:
    digest = hashlib.sha256()
    for chunk in _chunks(source):
        if isinstance(chunk, str):
            return chunk
        digest.update(chunk)
        write(chunk)
    return None if digest.hexdigest() == sha256 else "damaged"


def _chunks(source: Path) -> Iterator[bytes | Fault]:
    """The content in pieces, or what is wrong with the file; not what is wrong with where they go."""
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        yield "missing"
    except OSError as error:
        yield _unreadable(error)


def _unreadable(error: OSError) -> Fault:
    """A disk that cannot read some file is a damaged file; all else is trouble with the whole."""
    if error.errno == errno.EIO:
        return "damaged"
    raise error


def _in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """(item, result) in the order of the items, few of which are drawn ahead."""
    pool = ThreadPoolExecutor(N_THREADS, thread_name_prefix="image-tree")
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) == N_WAITING:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(item: Item, future: "Future[Result]") -> tuple[Item, Result]:
    return item, future.result()
