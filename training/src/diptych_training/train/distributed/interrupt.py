"""Signals during a run: the loop checks for them between steps, and a rank delays SIGTERM to report a lost
peer.
"""

import os
import signal
from threading import Timer
from types import FrameType, TracebackType

GRACE_S = 20.0  # torchrun waits 30 s between SIGTERM and SIGKILL


class Interrupt:
    """While entered, a first signal only sets `requested`; a second one ends the process as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        # Cleared first: another signal may call this method again while it runs.
        former, self._former = self._former, {}
        for number, handler in former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def delay_sigterm(grace_s: float = GRACE_S) -> None:
    """From now on, SIGTERM ends this process only after a grace period.

    If a rank is lost, torchrun sends SIGTERM to the others within a tenth of a second. They may notice the
    loss only at their next exchange, and need time to report it.
    """

    def end_later(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        timer = Timer(grace_s, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, end_later)
