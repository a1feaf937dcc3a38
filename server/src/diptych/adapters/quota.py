"""Count what a data folder holds against a limit, and keep room for deletions; knows no files or rows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diptych.adapters.reserve import TIGHT_BYTES, Reserve
from diptych.errors import StoreFull


class Quota:
    """Bytes of files, as they come and go, and of the database and its log, as they are after each commit.

    Room in the database that deleted rows have left counts as free. Deleting is always within the quota.
    A log repeats what the database holds or will hold, so it is cut before anything is refused for its sake.
    The reserve counts. While there is no room for it the disk is full, and takes nothing but what makes room.
    """

    def __init__(self, max_bytes: int | None = None, reserve: Reserve | None = None) -> None:
        self._max_bytes = max_bytes
        self._reserve = reserve
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
        if self._reserve is not None and self._reserve.is_tight:
            return True
        with self._lock:
            taken = self._wanted(self._file_bytes, self._database_bytes)
            return self._max_bytes is not None and taken + TIGHT_BYTES > self._max_bytes

    def cut_log_with(self, cut_log: Callable[[], None]) -> None:
        """How to have the log cut, from any thread but the writer's; it comes back when that is done."""
        self._cut_log = cut_log

    def take_reserve(self) -> bool:
        """Hold it again, if there is room; whether it is held."""
        return self._reserve is None or self._reserve.take()

    @contextmanager
    def reserve_lent(self) -> Iterator[None]:
        """It is free room while the block runs, which nobody else is let in to; held afterwards if it can be.

        Once at a time. One that was never held is not made for this: it comes after the database.
        """
        reserve = self._reserve
        if reserve is None or not reserve.is_made:
            yield
            return
        reserve.lend()
        try:
            yield
        finally:
            reserve.give_back()
            reserve.take()

    def take_file(self, n_bytes: int) -> None:
        """A file of so many bytes is about to be written. Raises StoreFull."""
        if not self.take_reserve():
            self._cut_log()
            self._require_reserve()
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
        if after > before:
            self._require_reserve()
            with self._lock:
                self._require(self._file_bytes, after)

    def set_database(self, n_bytes: int, log_bytes: int) -> None:
        """What they have now."""
        with self._lock:
            self._database_bytes, self._log_bytes = n_bytes, log_bytes

    def count_file(self, n_bytes: int) -> None:
        """A file that was there before; the limit may have been lowered since."""
        with self._lock:
            self._file_bytes += n_bytes

    def _require_reserve(self) -> None:
        if not self.take_reserve():
            raise StoreFull("no space is left on the disk of the data folder but what is kept for deletions")

    def _wanted(self, file_bytes: int, database_bytes: int) -> int:
        reserve_bytes = 0 if self._reserve is None else self._reserve.held_bytes
        return file_bytes + database_bytes + self._log_bytes + reserve_bytes

    def _is_over(self, file_bytes: int, database_bytes: int) -> bool:
        return self._max_bytes is not None and self._wanted(file_bytes, database_bytes) > self._max_bytes

    def _require(self, file_bytes: int, database_bytes: int) -> None:
        if self._is_over(file_bytes, database_bytes):
            wanted = self._wanted(file_bytes, database_bytes)
            log = f", {self._log_bytes} of them in the log of the database" if self._log_bytes else ""
            raise StoreFull(
                f"the data folder would have {wanted} bytes{log}, the limit is {self._max_bytes}"
                " (DIPTYCH_MAX_DATA_BYTES)"
            )
