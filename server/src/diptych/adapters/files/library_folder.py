"""Lists and reads the folder of a library, and nothing outside of it."""

import asyncio
import errno
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from diptych.bundle.image.formats import IMAGE_SUFFIXES
from diptych.core.libraries.ports import SIDECAR_ENDING, Content, Listing, Stamp, Unreadable
from diptych.errors import LibraryAway

IGNORE_FILE = ".diptychignore"
ALWAYS_IGNORED = (".*", "@eaDir")  # hidden names, and the thumbnails of a NAS
MAX_DEPTH = 64  # folders within folders; each level keeps one descriptor open
MAX_IGNORE_BYTES = 65_536
N_AT_ONCE = 4
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Opening a pipe must not wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_FILE = "is no regular file"


class FolderOfLibrary:
    """Satisfies `diptych.core.libraries.ports.LibraryFolder`.

    Every name is opened relative to the descriptor of its folder and without following links, and what was
    opened is checked, not what was there before. So a folder or file that is replaced by a link at any moment
    is refused. Only the root itself may be a link, since the operator names it.
    """

    def __init__(self, name: str, root: Path, max_bytes: int) -> None:
        """`name` is that of the library; larger files than `max_bytes` are not read."""
        self._name = name
        self._root = root
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(max_workers=N_AT_ONCE, thread_name_prefix="library")

    async def listing(self) -> Listing:
        """All pictures in the folder. Raises LibraryAway."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._list)

    async def read(self, path: bytes) -> Content | Unreadable:
        """Read one file. Raises LibraryAway."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, path)

    def _list(self) -> Listing:
        with self._opened_root() as root:
            lister = _Lister(self._ignored(root))
            lister.add(root, "", 0)
        if "" in lister.unread:
            raise self._away(lister.unread[""])
        encoded = ({os.fsencode(path): one for path, one in found.items()} for found in lister.found)
        return Listing(*encoded)

    def _read(self, path: bytes) -> Content | Unreadable:
        with self._opened_root() as root:
            try:
                return self._content(root, path)
            except OSError as error:
                return Unreadable(_reason(error), is_absent=isinstance(error, FileNotFoundError))

    def _content(self, root: int, path: bytes) -> Content | Unreadable:
        *folders, name = path.split(b"/")
        if any(part in {b"", b".", b".."} for part in (*folders, name)):
            return Unreadable("is no path within the library")
        with _opened(root, folders) as folder:
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return Unreadable(_NO_FILE)  # opening a device might do something
            descriptor = os.open(name, _FILE, dir_fd=folder)
            try:
                return self._bytes_of(descriptor, _device(folder))
            finally:
                os.close(descriptor)

    def _bytes_of(self, descriptor: int, device: str) -> Content | Unreadable:
        """The bytes of an open file, if it did not change while it was read."""
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return Unreadable(_NO_FILE)
        if before.st_size > self._max_bytes:
            return Unreadable(f"has {before.st_size} bytes, limit is {self._max_bytes}")
        parts, n_bytes = list[bytes](), 0
        while n_bytes <= self._max_bytes and (part := os.read(descriptor, 1 << 20)):
            parts.append(part)
            n_bytes += len(part)
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or (
            n_bytes != before.st_size
        ):
            return Unreadable("changed while it was read")
        return Content(b"".join(parts), Stamp(after.st_size, after.st_mtime_ns, device))

    def _ignored(self, root: int) -> list[str]:
        """The patterns of the file in the root that names what to leave out. Raises LibraryAway."""
        try:
            found = self._content(root, IGNORE_FILE.encode())
        except FileNotFoundError:
            return []
        except OSError as error:
            found = Unreadable(_reason(error))
        if isinstance(found, Content) and len(found.payload) > MAX_IGNORE_BYTES:
            found = Unreadable(f"has {len(found.payload)} bytes, limit is {MAX_IGNORE_BYTES}")
        if isinstance(found, Unreadable):
            raise LibraryAway(
                f"{IGNORE_FILE} of library {self._name!r} cannot be read: {found.reason}. Nothing is changed "
                "until it is a readable file, or is removed: what it leaves out is unknown"
            )
        lines = found.payload.decode(errors="surrogateescape").splitlines()
        return [_pattern(line) for line in map(str.strip, lines) if line and line[0] != "#"]

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        try:
            root = os.open(self._root, _FOLDER)
        except OSError as error:
            raise self._away(_reason(error)) from error
        try:
            yield root
        finally:
            os.close(root)

    def _away(self, reason: str) -> LibraryAway:
        return LibraryAway(f"the folder of library {self._name!r} is out of reach: {reason}")


class _Lister:
    """Collects the pictures of a tree, what of it cannot be read, and what is left out."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [*ALWAYS_IGNORED, *patterns]
        self.files: dict[str, Stamp] = {}
        self.unread: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.sidecars: dict[str, Stamp] = {}

    @property
    def found(self) -> tuple[dict[str, Any], ...]:
        """All of them."""
        return self.files, self.unread, self.left_out, self.sidecars

    def add(self, folder: int, path: str, depth: int) -> None:
        """Add what is in an open folder with this path in the library."""
        try:
            device = _device(folder)
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._add_entry(
                        entry, folder, f"{path}/{entry.name}" if path else entry.name, device, depth
                    )
        except OSError as error:
            self.unread[path] = _reason(error)

    def _add_entry(self, entry: "os.DirEntry[str]", folder: int, path: str, device: str, depth: int) -> None:
        if self._is_ignored(entry.name, path):
            return
        ending = PurePosixPath(entry.name).suffix.lower()
        is_sidecar = ending == SIDECAR_ENDING.decode()
        is_wanted = is_sidecar or ending in IMAGE_SUFFIXES
        try:
            if entry.is_symlink():
                self.left_out[path] = "is a link, which is not followed"
            elif entry.is_dir(follow_symlinks=False):
                self._add_folder(entry.name, folder, path, depth + 1)
            elif is_wanted and entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                files = self.sidecars if is_sidecar else self.files
                files[path] = Stamp(found.st_size, found.st_mtime_ns, device)
            elif is_wanted:
                self.left_out[path] = _NO_FILE
        except OSError as error:
            self.unread[path] = _reason(error)

    def _add_folder(self, name: str, folder: int, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.unread[path] = f"is more than {MAX_DEPTH} folders deep"
            return
        with _opened(folder, [os.fsencode(name)]) as inner:
            self.add(inner, path, depth)

    def _is_ignored(self, name: str, path: str) -> bool:
        """A pattern with a slash is compared with the path, any other one with the name."""
        return any(
            fnmatch.fnmatchcase(f"/{path}" if "/" in pattern else name, pattern) for pattern in self._patterns
        )


def _pattern(line: str) -> str:
    """A pattern of names, or of whole paths: then it begins with a slash."""
    pattern = line.rstrip("/")
    return f"/{pattern.lstrip('/')}" if "/" in pattern else pattern


@contextmanager
def _opened(folder: int, names: Sequence[bytes]) -> Iterator[int]:
    """Open folders, each in the one before, without following links; yield the last one."""
    descriptor = os.dup(folder)
    try:
        for name in names:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _device(folder: int) -> str:
    """The file system of an open folder: its id, which many keep when they are mounted again, or else the
    number of its device.
    """
    return f"{os.fstatvfs(folder).f_fsid or os.fstat(folder).st_dev:x}"


def _reason(error: OSError) -> str:
    """What is wrong, without the path that is outside of the library."""
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return "is a link or no folder, which is not followed"
    return error.strerror or type(error).__name__
