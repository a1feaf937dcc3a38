"""Log a repeated event once."""

import time
from collections.abc import Callable

QUIET_S = 300.0


class LogThrottle:
    """Tells whether an event should be logged: only if none of its kind happened in the last `QUIET_S`
    seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_at: dict[str, float] = {}

    def should_log(self, kind: str) -> bool:
        """Record that an event of this kind happens now, and return whether it is the first in a while."""
        now = self._clock()
        before, self._last_at[kind] = self._last_at.get(kind), now
        return before is None or now - before > QUIET_S
