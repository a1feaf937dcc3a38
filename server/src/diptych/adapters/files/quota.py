"""Counts the bytes of a data folder against its limit."""

import threading

from diptych.errors import StoreFull

TIGHT_BYTES = 16_000_000  # more than most commits add; with less space left the log is kept short


class Quota:
    """The bytes of files, and of the database and its log after each commit, against a limit.

    Space that deleted rows have left in the database counts as free, and deleting is always within the quota.
    The log counts when rows are added but not when files are: if space is short it is truncated, unless it is
    being read.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self._file_bytes = 0
        self._database_bytes = 0
        self._log_bytes = 0
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Whether there is a limit; without one nothing has to be counted."""
        return self.max_bytes is not None

    @property
    def is_tight(self) -> bool:
        """Whether the remaining space may be too small for one more commit and its log."""
        with self._lock:
            taken = self._file_bytes + self._database_bytes + self._log_bytes
        return self.max_bytes is not None and taken + TIGHT_BYTES > self.max_bytes

    @property
    def free_bytes(self) -> int | None:
        """The bytes that files and rows may still take; None without a limit."""
        with self._lock:
            taken = self._file_bytes + self._database_bytes
        return None if self.max_bytes is None else max(0, self.max_bytes - taken)

    def take_file(self, n_bytes: int) -> None:
        """Reserve the bytes of a file that is about to be written. Raises StoreFull."""
        with self._lock:
            self._require(self._file_bytes + n_bytes + self._database_bytes)
            self._file_bytes += n_bytes

    def give_file(self, n_bytes: int) -> None:
        """Release the bytes of a file that was removed or not written."""
        with self._lock:
            self._file_bytes -= n_bytes

    def require_database(self, n_bytes: int) -> None:
        """Raises StoreFull if the database may not grow to this many bytes."""
        with self._lock:
            self._require(self._file_bytes + n_bytes, self._log_bytes)

    def set_database(self, n_bytes: int, log_bytes: int) -> None:
        """Set the bytes that the database and its log have now."""
        with self._lock:
            self._database_bytes, self._log_bytes = n_bytes, log_bytes

    def count_file(self, n_bytes: int) -> None:
        """Count an existing file, even beyond the limit, which may have been lowered."""
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
