"""Bounds the memory of decoded images, and returns freed memory to the operating system."""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TRIM_AFTER_S = 2.0


class PixelBudget:
    """A limit of `max_px` on the pixels that all threads hold decoded at once.

    A file of a few kilobytes may decode to a gigabyte, in every thread at the same time.
    """

    def __init__(self, max_px: int) -> None:
        self._max_px = max_px
        self._n_px = 0
        self._turn = threading.Lock()  # first come, first served: small images never overtake a large one
        self._changed = threading.Condition()

    def raise_to(self, max_px: int) -> None:
        """Raise the limit to `max_px`, if it is lower."""
        with self._changed:
            self._max_px = max(self._max_px, max_px)
            self._changed.notify_all()

    @contextmanager
    def hold(self, n_px: int) -> Iterator[None]:
        """Block until `n_px` fit into the budget. An image larger than the budget waits until it is alone."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._n_px == 0 or self._n_px + n_px <= self._max_px)
            self._n_px += n_px
        try:
            yield
        finally:
            with self._changed:
                self._n_px -= n_px
                self._changed.notify_all()


def trim_now() -> None:
    """Return all freed memory to the system, on glibc; takes some milliseconds. Elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MallocTrim:
    """Returns freed memory to the system, at most once in `after_s` seconds, from a thread of its own.

    glibc keeps freed memory for the next allocation: hundreds of megabytes after a few large images. To
    return it after each image would cost a stream of photographs a third more time, since the system hands
    out every page again.
    """

    def __init__(self, after_s: float = TRIM_AFTER_S, trim: Callable[[], None] = trim_now) -> None:
        self._after_s = after_s
        self._trim = trim
        self._lock = threading.Lock()
        self._is_scheduled = False

    def trim_soon(self) -> None:
        """Schedule a trim in `after_s` seconds, unless one is scheduled already. From any thread."""
        with self._lock:
            if self._is_scheduled:
                return
            self._is_scheduled = True
        timer = threading.Timer(self._after_s, self._run)
        timer.name, timer.daemon = "malloc-trim", True
        timer.start()

    def _run(self) -> None:
        with self._lock:
            self._is_scheduled = False
        self._trim()
