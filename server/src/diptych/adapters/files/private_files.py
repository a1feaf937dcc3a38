"""Keep files to the user who runs the process, whatever the umask; knows nothing of what is in them."""

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

FILE_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_new(file: Path) -> None:
    """An empty file that nobody else can open, in place of one that is there."""
    file.unlink(missing_ok=True)
    file.touch(mode=FILE_MODE, exist_ok=False)


def narrow(path: Path) -> None:
    """Take from everybody else the rights that an earlier version left on a file or folder of this user.

    It may be missing. A file system that has no modes is no reason to stop.
    """
    try:
        found = path.stat()
        if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("other users of this machine may read %s: %s", path.name, error.strerror)
