"""Bound the pixels that several threads hold decoded at once; knows nothing of images."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Room for `max_px` in all. A few kilobytes may decode to a gigabyte, in every thread at once."""

    def __init__(self, max_px: int) -> None:
        self._max_px = max_px
        self._n_px = 0
        self._turn = threading.Lock()  # first come, first served: small images never overtake a large one
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, n_px: int) -> Iterator[None]:
        """Block until there is room for `n_px`; what is larger than all the room waits until it is alone."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._n_px == 0 or self._n_px + n_px <= self._max_px)
            self._n_px += n_px
        try:
            yield
        finally:
            with self._changed:
                self._n_px -= n_px
                self._changed.notify_all()
