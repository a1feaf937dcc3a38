"""Count what a data folder holds against a limit; knows nothing of where files or rows are."""

import threading

from diptych.errors import StoreFull


class Quota:
    """Bytes of files, as they come and go, and of the database, as it is after each commit.

    Room in the database that deleted rows have left counts as free. Deleting is always within the quota.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._file_bytes = 0
        self._database_bytes = 0
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        """Without a limit nobody has to count."""
        return self._max_bytes is not None

    def take_file(self, n_bytes: int) -> None:
        """A file of so many bytes is about to be written. Raises StoreFull."""
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

    def set_database(self, n_bytes: int) -> None:
        """What it has now."""
        with self._lock:
            self._database_bytes = n_bytes

    def count_file(self, n_bytes: int) -> None:
        """A file that was there before; the limit may have been lowered since."""
        with self._lock:
            self._file_bytes += n_bytes

    def _require(self, file_bytes: int, database_bytes: int) -> None:
        wanted = file_bytes + database_bytes
        if self._max_bytes is not None and wanted > self._max_bytes:
            raise StoreFull(
                f"the data folder would have {wanted} bytes, the limit is {self._max_bytes}"
                " (DIPTYCH_MAX_DATA_BYTES)"
            )
