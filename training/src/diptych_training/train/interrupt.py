"""Turn SIGINT and SIGTERM into a question that the loop asks between steps."""

import signal
from types import FrameType, TracebackType


class Interrupt:
    """While entered, a signal only sets `requested`; a second one ends the process as usual."""

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
        # Taken out first: another signal may call this again in the midst of it.
        former, self._former = self._former, {}
        for number, handler in former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
