"""Makes files accessible only to the user who runs the process, whatever the umask."""

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

FILE_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_new(file: Path) -> None:
    """Make an empty file that only this user can open, replacing an existing one."""
    file.unlink(missing_ok=True)
    file.touch(mode=FILE_MODE, exist_ok=False)


def narrow(path: Path) -> None:
    """Remove other users' rights, which earlier versions left, from a file or folder of this user.

    The path may be missing. A file system without modes is not an error.
    """
    try:
        found = path.stat()
        if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("other users of this machine may read %s: %s", path.name, error.strerror)
