"""Count what a data folder holds against a limit; knows no files or rows."""

import threading

from diptych.errors import StoreFull

TIGHT_BYTES = 16_000_000  # more than one commit adds, mostly; with less room the log is kept short


class Quota:
    """Bytes of files, as they come and go, and of the database and its log, as they are after each commit.

    Room in the database that deleted rows have left counts as free. Deleting is always within the quota.
    A long log keeps rows out, not files: for want of room it is cut, if nobody reads from it.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._file_bytes = 0
        self._database_bytes = 0
        self._log_bytes = 0
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Without a limit nobody has to count."""
        return self.max_bytes is not None

    @property
    def is_tight(self) -> bool:
        """Whether the room that is left may be too small for one more commit and its log."""
        with self._lock:
            taken = self._file_bytes + self._database_bytes + self._log_bytes
        return self.max_bytes is not None and taken + TIGHT_BYTES > self.max_bytes

    def take_file(self, n_bytes: int) -> None:
        """A file of so many bytes is about to be written. Raises StoreFull."""
        with self._lock:
            self._require(self._file_bytes + n_bytes + self._database_bytes)
            self._file_bytes += n_bytes

    def give_file(self, n_bytes: int) -> None:
        """It was removed, or never came to be."""
        with self._lock:
            self._file_bytes -= n_bytes

    def require_database(self, n_bytes: int) -> None:
        """The database is about to grow to so many bytes. Raises StoreFull."""
        with self._lock:
            self._require(self._file_bytes + n_bytes, self._log_bytes)

    def set_database(self, n_bytes: int, log_bytes: int) -> None:
        """What they have now."""
        with self._lock:
            self._database_bytes, self._log_bytes = n_bytes, log_bytes

    def count_file(self, n_bytes: int) -> None:
        """A file that was there before; the limit may have been lowered since."""
        with self._lock:
            self._file_bytes += n_bytes

    def _require(self, n_bytes: int, log_bytes: int = 0) -> None:
        wanted = n_bytes + log_bytes
        if self.max_bytes is not None and wanted > self.max_bytes:
            log = f", {log_bytes} of them in the log of the database" if log_bytes else ""
            raise StoreFull(
                f"the data folder would have {wanted} bytes{log}, the limit is {self.max_bytes}"
                " (DIPTYCH_MAX_DATA_BYTES)"
            )
