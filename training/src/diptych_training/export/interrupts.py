"""Notice Ctrl-C even where a library swallows the KeyboardInterrupt it causes; knows nothing of commands."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Check = Callable[[], None]


def nothing_pressed() -> None:
    """The check of whoever has no Ctrl-C to notice."""


@contextmanager
def noticing_interrupts() -> Iterator[Check]:
    """A check that raises KeyboardInterrupt once Ctrl-C was pressed, however often it is asked.

    Ctrl-C interrupts at once as well. The handler that was there is put back. Only the main thread is told
    of signals; elsewhere, and where Ctrl-C is ignored, nothing is changed.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield nothing_pressed
        return
    pressed = threading.Event()

    def notice(_number: int, _frame: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, notice)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
