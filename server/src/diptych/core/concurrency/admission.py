"""Admission control: let work in while there is room, and refuse it when there is none."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diptych.errors import Overloaded, TooLarge

MIN_RETRY_S, MAX_RETRY_S = 1.0, 60.0
SMOOTHING = 0.2  # weight of the newest measurement


class Admission:
    """Bounds the items and bytes that are being worked on. Used from one event loop.

    A request is let in or refused as a whole, so that none fails half-way. An admitted request holds its room
    until its block ends, however it ends: a cancelled request gives its room back at once.
    """

    def __init__(
        self, *, max_items: int, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.n_items = 0
        self.n_bytes = 0
        self._clock = clock
        self._throughput = _Throughput()
        self._since = 0.0  # when a request last ended, or the first one was admitted

    @contextmanager
    def hold(self, n_items: int, n_bytes: int) -> Iterator[None]:
        """Reserve room for `n_items` of `n_bytes` in all. Raises Overloaded; TooLarge if it can never fit."""
        self._check(n_items, n_bytes)
        if self.n_items == 0:
            self._since = self._clock()
        self.n_items += n_items
        self.n_bytes += n_bytes
        try:
            yield
            self._measure(n_items)
        finally:
            self.n_items -= n_items
            self.n_bytes -= n_bytes

    def retry_after_s(self) -> float:
        """Whole seconds until the admitted work should be done, estimated from recent throughput."""
        seconds = self.n_items * self._throughput.seconds_per_item
        return float(min(max(math.ceil(seconds), MIN_RETRY_S), MAX_RETRY_S))

    def _measure(self, n_items: int) -> None:
        """Update the throughput from the time between the ends of requests, in whatever order they end."""
        now = self._clock()
        self._throughput.add(n_items, now - self._since)
        self._since = now

    def _check(self, n_items: int, n_bytes: int) -> None:
        if n_items > self.max_items:
            raise TooLarge(f"{n_items} items at once, the queue holds {self.max_items}")
        if n_bytes > self.max_bytes:
            raise TooLarge(f"{n_bytes} bytes at once, the queue holds {self.max_bytes}")
        if self.n_items + n_items > self.max_items or self.n_bytes + n_bytes > self.max_bytes:
            raise Overloaded(
                f"the queue is full: {self.n_items} of {self.max_items} items, "
                f"{self.n_bytes} of {self.max_bytes} bytes",
                self.retry_after_s(),
            )


class _Throughput:
    """Seconds per item, averaged over recent requests.

    Items and seconds are smoothed separately, so that a large request weighs more than a small one.
    """

    def __init__(self) -> None:
        self._n_items, self._seconds = 1.0, 0.1  # a guess, until the first measurement

    @property
    def seconds_per_item(self) -> float:
        return self._seconds / self._n_items

    def add(self, n_items: int, seconds: float) -> None:
        self._n_items += SMOOTHING * (n_items - self._n_items)
        self._seconds += SMOOTHING * (seconds - self._seconds)
