"""The lock by which one process at a time writes to a data folder, or several serve it read-only."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Self

from diptych.durable import fsync_folder
from diptych.errors import ConfigError, DataDirLocked, StoreError, StoreReadOnly

LOCK_FILE = "lock"
MAX_HOLDER_BYTES = 300


class DataLock:
    """An advisory lock on `<data_dir>/lock`, held until `close` or the end of the process."""

    def __init__(self, data_dir: Path, what: str = "data folder") -> None:
        """Take the lock.

        Raises DataDirLocked naming the process id and host of the holder, and since when it holds it.

        Raises ConfigError if this user may not write to the folder, StoreError if it cannot be used.
        """
        try:
            _make_durably(data_dir)
            self._descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as error:
            raise ConfigError(_not_for_this_user(f"{what} {data_dir}", data_dir)) from error
        except OSError as error:
            kind = StoreReadOnly if error.errno == errno.EROFS else StoreError
            raise kind(f"{what} {data_dir} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if _is_shared(self._descriptor):
                os.close(self._descriptor)
                raise DataDirLocked(f"{what} {data_dir} is in use by a read-only server") from error
            holder = _close_and_name_holder(self._descriptor)
            raise DataDirLocked(f"{what} {data_dir} is in use by process {holder}") from error
        self._released = False
        with suppress(OSError):  # a full disk prevents the name of the holder, not the lock
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{_this_process()}\n".encode(), 0)

    @classmethod
    def shared(cls, data_dir: Path) -> Self:
        """Take the lock together with other readers, and write nothing. A folder without a lock has none.

        Raises DataDirLocked while a process may write to the folder, ConfigError if there is no folder or
        this user may not read it, StoreError.
        """
        lock = cls.__new__(cls)
        lock._released = False
        try:
            if not data_dir.is_dir():
                raise ConfigError(f"there is no data folder {data_dir}")
            lock._descriptor = os.open(data_dir / LOCK_FILE, os.O_RDONLY)
            fcntl.flock(lock._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:  # as in a copy: no server has opened this folder
            lock._released = True
        except PermissionError as error:
            user = f"{os.geteuid()}:{os.getegid()}"
            raise ConfigError(
                f"data folder {data_dir} cannot be read by user {user}{_owner(data_dir)}: "
                "let them read it, or run as its owner"
            ) from error
        except BlockingIOError as error:
            holder = _close_and_name_holder(lock._descriptor)
            raise DataDirLocked(
                f"data folder {data_dir} is in use by process {holder}, which may write to it: stop that, or "
                "serve a copy"
            ) from error
        except OSError as error:
            raise StoreError(f"data folder {data_dir} cannot be used: {error.strerror}") from error
        return lock

    def close(self) -> None:
        """Release the lock; a second call does nothing.

        The file stays: if it were removed, two processes could lock two different files.
        """
        if not self._released:
            self._released = True
            os.close(self._descriptor)


def _this_process() -> str:
    """Process id, host and time. In a container the host, not the process id, identifies the holder."""
    return f"{os.getpid()} on {gethostname()[:200]} since {datetime.now(UTC).isoformat(timespec='seconds')}"


def _is_shared(descriptor: int) -> bool:
    """Whether a lock that is taken is held by readers."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_and_name_holder(descriptor: int) -> str:
    holder = os.pread(descriptor, MAX_HOLDER_BYTES, 0).decode(errors="replace").strip()
    os.close(descriptor)
    return holder or "unknown"


def _owner(folder: Path) -> str:
    """Why the folder is not for this user, as far as that is known."""
    with suppress(OSError):
        found = folder.stat()
        return f", as it belongs to {found.st_uid}:{found.st_gid} with mode {stat.S_IMODE(found.st_mode):o}"
    return ""


def _not_for_this_user(named: str, folder: Path) -> str:
    """Say why and how to fix it.

    Usual in containers, where a mounted folder belongs to a user of the host.
    """
    user = f"{os.geteuid()}:{os.getegid()}"
    return (
        f"{named} cannot be written by user {user}{_owner(folder)}: "
        f"give it to them (`chown -R {user}` on the host), run as the folder's owner, or take another folder"
    )


def _make_durably(folder: Path) -> None:
    """Make the folder and its missing parents, so that their names survive a loss of power."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in missing:
        fsync_folder(made.parent)
