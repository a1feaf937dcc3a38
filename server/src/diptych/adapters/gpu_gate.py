"""Let calls of a GPU run side by side, and a capture by itself. Knows nothing of what is run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GpuGate:
    """Any number of calls at once, or one capture alone, for which the next calls wait.

    While CUDA captures, memory that another thread takes or copies is an error in that thread and spoils the
    capture: onnxruntime captures in the mode that holds for the whole process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_calls = 0
        self._n_waiting = 0  # captures
        self._is_alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """For a call; not while a capture runs or waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not self._n_waiting)
            self._n_calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_calls -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a capture: once all calls that run have ended, and until it ends."""
        with self._changed:
            self._n_waiting += 1
            self._changed.wait_for(lambda: not self._is_alone and not self._n_calls)
            self._n_waiting -= 1
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()


GATE = GpuGate()  # one for the process, as CUDA's mode is
