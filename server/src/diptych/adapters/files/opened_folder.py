"""Tell whether a folder is still the one that was opened; knows nothing of what its files are for."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.errors import StoreUnavailable

log = logging.getLogger(__name__)


class OpenedFolder:
    """A folder may be moved away, or its disk unmounted, while files are written into it by their paths.

    What is in its place then, such as the empty folder that a disk was mounted on, must not be taken for it.
    Mounted again, a disk may have another number: the folder is the same where it holds all that it held.
    From any thread.
    """

    def __init__(self, folder: Path, folders_in_it: Callable[[], Collection[Path]]) -> None:
        """Blocking. `folders_in_it` are those that it is known to hold; they are never removed."""
        self._folder = folder
        self._folders_in_it = folders_in_it
        self._place = _place(folder)
        self._logged = ""

    def require(self) -> None:
        """Raises StoreUnavailable while it is not there; the log has one line when that begins and ends."""
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
        """Before the block and after it, which says why the block failed, too."""
        self.require()
        try:
            yield
        finally:
            self.require()

    def _trouble(self) -> str:
        name = f"the folder {self._folder.name} of the data folder"
        try:
            place = _place(self._folder)
        except OSError as error:
            return f"{name} is not there ({error.strerror}): move it back, or mount its disk"
        known = tuple(self._folders_in_it())
        if place == self._place:
            is_same = not known or any(path.is_dir() for path in known)
        else:
            is_same = bool(known) and all(path.is_dir() for path in known)
        if not is_same:
            return (
                f"{name} is not the one that was opened, and lacks what that held: mount its disk, "
                "or start the server anew if it is to begin with this one"
            )
        self._place = place
        return ""


def _place(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
