"""Hold back a piece of the disk for what makes room on it; knows nothing of who takes the rest."""

import errno
import logging
import os
import threading
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_FILE = "reserve"
MOST_BYTES = 6 * 2**20  # SQLite lets its log grow to 4 MB and a commit: this is room to write it away
SHARE = 16  # of a small disk or quota, at most the 16th part
BLOCK = 4096
TIGHT_BYTES = 16_000_000  # more than one commit adds, mostly; with less room the log is kept short
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """`<data_dir>/reserve`: bytes that are allocated and mean nothing, lent to deletions on a full disk.

    Held, lent, or lacking: then the disk was full when it was last tried, or there is no trying. From any
    thread.
    """

    def __init__(self, data_dir: Path, max_data_bytes: int | None = None) -> None:
        """Blocking; changes nothing yet, and what an earlier process held is held."""
        disk = os.statvfs(data_dir)
        bounds = [MOST_BYTES, disk.f_blocks * disk.f_frsize // SHARE, (max_data_bytes or 2**60) // SHARE]
        self.n_bytes = min(bounds) // BLOCK * BLOCK
        self._folder, self._file = data_dir, data_dir / RESERVE_FILE
        self._held = self.n_bytes == 0 or _allocated(self._file) == self.n_bytes
        self._lent = False
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What it takes on the disk now."""
        return self.n_bytes if self._held else 0

    @property
    def is_made(self) -> bool:
        """Whether it was ever held, by this process or an earlier one: its name stays."""
        return self._file.exists()

    @property
    def is_tight(self) -> bool:
        """Whether there is little room on the disk, or none for the reserve."""
        return not self._held or free_bytes(self._folder) < TIGHT_BYTES

    def take(self) -> bool:
        """Hold it, if there is room and it is not lent; whether it is held."""
        with self._lock:
            if not self._held and not self._lent:
                self._held = self._allocate()
            return self._held

    def lend(self) -> None:
        """Make it free room, until it is given back."""
        with self._lock:
            self._held, self._lent = False, True
            self._empty()

    def give_back(self) -> None:
        """The loan is over, whether or not there is room for it now."""
        with self._lock:
            self._lent = False

    def _allocate(self) -> bool:
        """A file system that allocates nothing ahead has none, and nobody waits for it."""
        if self.n_bytes == 0:
            return True
        descriptor = -1
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(descriptor, self.n_bytes)
            if not hasattr(os, "posix_fallocate"):  # macOS
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            os.posix_fallocate(descriptor, 0, self.n_bytes)
        except OSError as error:
            if descriptor >= 0:
                os.ftruncate(descriptor, 0)  # a part of it may be there
            if error.errno in _FULL:
                return False
            log.warning("no room is held back for deletions on a full disk: %s", error.strerror)
            self.n_bytes = 0
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return True

    def _empty(self) -> None:
        """The name stays: a full disk may have no room for a new one."""
        try:
            os.truncate(self._file, 0)
        except OSError as error:
            if error.errno != errno.ENOENT:
                log.warning("what is held back for deletions cannot be given up: %s", error.strerror)


def free_bytes(folder: Path) -> int:
    """What is left on its disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _allocated(file: Path) -> int:
    """Bytes on the disk: a file that was copied may have holes. 0 when it is missing."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0
    return min(found.st_size, found.st_blocks * 512)
