"""Detects whether a folder is still the one that was opened."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreUnavailable

log = logging.getLogger(__name__)


class OpenedFolder:
    """A folder that may be moved away, or whose disk may be unmounted, while files are written into it by
    path.

    Another folder in its place, such as the empty mount point of the disk, must not be mistaken for it. A
    disk may have another device number when it is mounted again; the folder is the same if it has all the
    folders that it had. Call from any thread.
    """

    def __init__(self, folder: Path, subfolders: Callable[[], Collection[Path]]) -> None:
        """`subfolders` returns the folders that it is known to contain, which are never removed. Blocking."""
        self._folder = folder
        self._subfolders = subfolders
        self._inode = _inode(folder)
        self._logged = ""

    def require(self) -> None:
        """Raises StoreUnavailable while the folder is missing; logs one line when that begins and when it
        ends.
        """
        trouble = self._trouble()
        if trouble != self._logged:
            self._logged = trouble
            if trouble:
                log.error("%s", trouble)
            else:
                log.info("the folder %s is there again", self._folder.name)
        if trouble:
            raise StoreUnavailable(trouble)

    @contextmanager
    def required(self) -> Iterator[None]:
        """Check before and after the block; after a failed block, a missing folder is the better error."""
        self.require()
        try:
            yield
        finally:
            self.require()

    def _trouble(self) -> str:
        name = f"the folder {self._folder.name} of the data folder"
        try:
            inode = _inode(self._folder)
        except OSError as error:
            return f"{name} is not there ({error.strerror}): move it back, or mount its disk"
        known = tuple(self._subfolders())
        if inode == self._inode:
            is_same = not known or any(path.is_dir() for path in known)
        else:
            is_same = bool(known) and all(path.is_dir() for path in known)
        if not is_same:
            return (
                f"{name} is not the one that was opened, and lacks what that held: mount its disk, "
                "or restart the server to begin with this one"
            )
        self._inode = inode
        return ""


def _inode(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
