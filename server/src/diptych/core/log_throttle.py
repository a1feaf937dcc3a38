"""Tell the begin of something from its going on, for a log that needs one line for it. Knows no log."""

import time
from collections.abc import Callable

QUIET_S = 300.0


class LogThrottle:
    """An episode ends when nothing of its kind has happened for `QUIET_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at: dict[str, float] = {}

    def should_log(self, kind: str) -> bool:
        """It happens now: whether that is the first time in a while."""
        now = self._clock()
        before, self._last_at[kind] = self._last_at.get(kind), now
        return before is None or now - before > QUIET_S
