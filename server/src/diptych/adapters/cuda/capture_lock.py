"""Let calls of a GPU run side by side, and the capture of a CUDA graph alone. Knows nothing of what runs.

While CUDA captures, memory that another thread takes, copies or frees is an error in that thread and spoils
the capture: onnxruntime captures in the mode that holds for the whole process.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Turn:
    is_capture: bool


class CaptureLock:
    """Any number of calls at once, or one capture alone, in the order in which they came.

    A load is a call that takes seconds. Loads and captures take turns before they come in, so that calls
    never wait behind a capture that waits for a load. No thread that is inside may come in again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turns: list[_Turn] = []  # of those inside and those that wait, oldest first
        self._slow = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """For a batch or a search, and for giving memory back."""
        turn = _Turn(is_capture=False)
        self._enter(turn)
        try:
            yield
        finally:
            self._leave(turn)

    @contextmanager
    def load(self) -> Iterator[None]:
        """For what takes memory for seconds."""
        with self._slow, self.call():
            yield

    @contextmanager
    def capture(self) -> Iterator[None]:
        """For a run that is captured."""
        turn = _Turn(is_capture=True)
        with self._slow:
            self._enter(turn)
            try:
                yield
            finally:
                self._leave(turn)

    def _enter(self, turn: _Turn) -> None:
        with self._changed:
            self._turns.append(turn)
            self._changed.wait_for(lambda: self._may_run(turn))

    def _leave(self, turn: _Turn) -> None:
        with self._changed:
            self._turns.remove(turn)
            self._changed.notify_all()

    def _may_run(self, turn: _Turn) -> bool:
        before = self._turns[: self._turns.index(turn)]
        return not before if turn.is_capture else not any(one.is_capture for one in before)


CAPTURE_LOCK = CaptureLock()  # one for the process, as CUDA's mode is
