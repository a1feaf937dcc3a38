"""The lock that lets GPU calls run concurrently, but the capture of a CUDA graph alone.

onnxruntime captures in the mode that affects the whole process: while it does, another thread that allocates,
copies or frees GPU memory gets an error and breaks the capture.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Ticket:
    is_capture: bool


class CaptureLock:
    """Admits any number of calls at once, or one capture alone, in order of arrival.

    A load is a call that takes seconds. Loads and captures exclude each other before they queue, so that a
    call never waits behind a capture that waits for a load. The lock is not reentrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: list[_Ticket] = []  # running and waiting, oldest first
        self._exclusive = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold the lock for a batch or a search, or to free memory."""
        ticket = _Ticket(is_capture=False)
        self._enter(ticket)
        try:
            yield
        finally:
            self._leave(ticket)

    @contextmanager
    def load(self) -> Iterator[None]:
        """Hold the lock for work that allocates memory for seconds."""
        with self._exclusive, self.call():
            yield

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Hold the lock for a run that is captured as a CUDA graph."""
        ticket = _Ticket(is_capture=True)
        with self._exclusive:
            self._enter(ticket)
            try:
                yield
            finally:
                self._leave(ticket)

    def _enter(self, ticket: _Ticket) -> None:
        with self._changed:
            self._tickets.append(ticket)
            self._changed.wait_for(lambda: self._may_run(ticket))

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            self._tickets.remove(ticket)
            self._changed.notify_all()

    def _may_run(self, ticket: _Ticket) -> bool:
        before = self._tickets[: self._tickets.index(ticket)]
        return not before if ticket.is_capture else not any(one.is_capture for one in before)


CAPTURE_LOCK = CaptureLock()  # one for the process, because CUDA's capture mode affects the whole process
