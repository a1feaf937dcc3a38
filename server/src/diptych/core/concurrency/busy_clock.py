"""Measure how long something is in use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class BusyClock:
    """Adds up the seconds in which at least one user is inside. For one thread."""

    def __init__(self) -> None:
        self._n_users = 0
        self._since = 0.0
        self._total_s = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the block as one user."""
        if not self._n_users:
            self._since = time.monotonic()
        self._n_users += 1
        try:
            yield
        finally:
            self._n_users -= 1
            if not self._n_users:
                self._total_s += time.monotonic() - self._since

    @property
    def total_s(self) -> float:
        """Seconds in use so far."""
        return self._total_s + (time.monotonic() - self._since if self._n_users else 0.0)
