"""Count what a data folder holds against a limit; knows nothing of where files or rows are."""

import threading
from collections.abc import Callable

from diptych.errors import StoreFull

TIGHT_BYTES = 16_000_000  # more than one commit adds, mostly


class Quota:
    """Bytes of files, as they come and go, and of the database and its log, as they are after each commit.

    Room in the database that deleted rows have left counts as free. Deleting is always within the quota.
    A log repeats what the database holds or will hold, so it is cut before anything is refused for its sake.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._file_bytes = 0
        self._database_bytes = 0
        self._log_bytes = 0
        self._cut_log: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Without a limit nobody has to count."""
        return self._max_bytes is not None

    @property
    def is_tight(self) -> bool:
        """Whether the room that is left may be too small for one more commit and its log."""
        with self._lock:
            taken = self._file_bytes + self._database_bytes + self._log_bytes
            return self._max_bytes is not None and taken + TIGHT_BYTES > self._max_bytes

    def cut_log_with(self, cut_log: Callable[[], None]) -> None:
        """How to have the log cut, from any thread but the writer's; it comes back when that is done."""
        self._cut_log = cut_log

    def take_file(self, n_bytes: int) -> None:
        """A file of so many bytes is about to be written. Raises StoreFull."""
        with self._lock:
            tight = self._is_over(self._file_bytes + n_bytes, self._database_bytes)
        if tight:
            self._cut_log()
        with self._lock:
            self._require(self._file_bytes + n_bytes, self._database_bytes)
            self._file_bytes += n_bytes

    def give_file(self, n_bytes: int) -> None:
        """It was removed, or never came to be."""
        with self._lock:
            self._file_bytes -= n_bytes

    def require_database(self, before: int, after: int) -> None:
        """The database is about to grow or shrink to `after` bytes. Raises StoreFull."""
        with self._lock:
            if after > before:
                self._require(self._file_bytes, after)

    def set_database(self, n_bytes: int, log_bytes: int) -> None:
        """What they have now."""
        with self._lock:
            self._database_bytes, self._log_bytes = n_bytes, log_bytes

    def count_file(self, n_bytes: int) -> None:
        """A file that was there before; the limit may have been lowered since."""
        with self._lock:
            self._file_bytes += n_bytes

    def _is_over(self, file_bytes: int, database_bytes: int) -> bool:
        wanted = file_bytes + database_bytes + self._log_bytes
        return self._max_bytes is not None and wanted > self._max_bytes

    def _require(self, file_bytes: int, database_bytes: int) -> None:
        if self._is_over(file_bytes, database_bytes):
            wanted = file_bytes + database_bytes + self._log_bytes
            log = f", {self._log_bytes} of them in the log of the database" if self._log_bytes else ""
            raise StoreFull(
                f"the data folder would have {wanted} bytes{log}, the limit is {self._max_bytes}"
                " (DIPTYCH_MAX_DATA_BYTES)"
            )
