"""Detects whether a folder and files are still those that were opened."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreUnavailable

log = logging.getLogger(__name__)


class _Opened(ABC):
    """Something on the disk that may be removed or replaced while it is used. Call from any thread."""

    _logged = ""

    def require(self) -> None:
        """Raises StoreUnavailable while it is missing; logs one line when that begins and when it ends."""
        trouble = self._trouble()
        if trouble != self._logged:
            self._logged = trouble
            if trouble:
                log.error("%s", trouble)
            else:
                log.info("%s there again", self._name)
        if trouble:
            raise StoreUnavailable(trouble)

    @contextmanager
    def required(self) -> Iterator[None]:
        """Check before and after the block; after a failed block, what is missing is the better error."""
        self.require()
        try:
            yield
        finally:
            self.require()

    @property
    @abstractmethod
    def _name(self) -> str:
        """The beginning of a sentence, with its verb."""

    @abstractmethod
    def _trouble(self) -> str:
        """Return what is missing and what to do; empty if nothing is missing."""


class OpenedFiles(_Opened):
    """Files of a data folder that are open. What is written into one that was removed is lost."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Blocking. Raises OSError for a missing file."""
        self._inodes = {file: _inode(file) for file in files}

    @property
    def _name(self) -> str:
        return f"the files {', '.join(file.name for file in self._inodes)} are"

    def _trouble(self) -> str:
        for file, inode in self._inodes.items():
            name = f"the file {file.name} of the data folder"
            try:
                is_same = _inode(file) == inode
            except OSError as error:
                return f"{name} is not there ({error.strerror}): move it back, or restart the server"
            if not is_same:
                return (
                    f"{name} is another one than the server opened: move the first one back, "
                    "or restart the server"
                )
        return ""


class OpenedFolder(_Opened):
    """A folder that may be moved away, or whose disk may be unmounted, while files are written into it by
    path.

    Another folder in its place, such as the empty mount point of the disk, must not be mistaken for it. A
    disk may have another device number when it is mounted again; the folder is the same if it has all the
    folders that it had.
    """

    def __init__(
        self, folder: Path, subfolders: Callable[[], Collection[Path]], of: str = "the data folder"
    ) -> None:
        """`subfolders` returns the folders that it is known to contain, which are never removed. `of` names
        the folder that it is in. Blocking.
        """
        self._folder = folder
        self._of = of
        self._subfolders = subfolders
        self._inode = _inode(folder)

    @property
    def _name(self) -> str:
        return f"the folder {self._folder.name} is"

    def _trouble(self) -> str:
        name = f"the folder {self._folder.name} of {self._of}"
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


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
