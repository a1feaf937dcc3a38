"""Give memory that was freed back to the system; knows nothing of what it held."""

import ctypes
import sys
import threading
from collections.abc import Callable

AFTER_S = 2.0


def give_back() -> None:
    """All of it, in some milliseconds, on systems with glibc; elsewhere nothing is done."""
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MallocTrim:
    """glibc keeps what was freed, for whoever asks next: after a few large images, hundreds of megabytes.

    To give it back after each of them would cost a stream of photographs a third more time, since the system
    hands out every page anew. So it is given back at most once in `after_s`, from a thread of its own.
    """

    def __init__(self, after_s: float = AFTER_S, give_back: Callable[[], None] = give_back) -> None:
        self._after_s = after_s
        self._give_back = give_back
        self._lock = threading.Lock()
        self._is_awaited = False

    def give_back_soon(self) -> None:
        """`after_s` from now, or earlier if that was asked before. Called from any thread."""
        with self._lock:
            if self._is_awaited:
                return
            self._is_awaited = True
        timer = threading.Timer(self._after_s, self._now)
        timer.name, timer.daemon = "freed-memory", True
        timer.start()

    def _now(self) -> None:
        with self._lock:
            self._is_awaited = False
        self._give_back()
