"""Give way to requests while images are embedded in the background."""

import asyncio
import time
from collections.abc import Callable

# Of all time: a rollout ends under full load, too, and slows requests down by a tenth at most.
MIN_SHARE = 0.1
WINDOW_S = 1.0  # over which the load by requests is measured
IDLE_LOAD = 0.001  # below it no request comes
SPARE_SHARE = 0.5  # of the time that requests leave; all of it would slow down each request that comes
STEP_S = 0.02


class EncoderShare:
    """Works all the time while no request comes; else half of the time that requests leave, and at least
    MIN_SHARE of all time.
    """

    def __init__(self, busy_s: Callable[[], float], *, only_spare: bool = False) -> None:
        """`busy_s` returns the seconds in which encoders were in use so far, by this work or by requests.

        `only_spare`: take nothing but what requests leave.
        """
        self._busy_s = busy_s
        self._only_spare = only_spare
        self._encoded_s = 0.0
        self._load = 1.0  # of requests, until it is measured
        self._measured_at, self._requests_s = time.monotonic(), busy_s()
        self._resumed_at = self._measured_at

    async def pause(self, worked_s: float, encoded_s: float) -> None:
        """Wait until `worked_s` seconds of work are the share of the time since the last pause. `encoded_s`
        of them counted in `busy_s`.
        """
        self._encoded_s += encoded_s
        await asyncio.sleep(0)
        while time.monotonic() - self._resumed_at < worked_s / self._allowed():  # noqa: ASYNC110
            await asyncio.sleep(STEP_S)
        self._resumed_at = time.monotonic()

    def _allowed(self) -> float:
        """The share of the time that this work may take now."""
        self._measure()
        if self._load < IDLE_LOAD:
            return 1.0
        return max(IDLE_LOAD if self._only_spare else MIN_SHARE, SPARE_SHARE * (1 - self._load))

    def _measure(self) -> None:
        """Update the load, once in a while: the share of the time in which requests used the encoders."""
        now = time.monotonic()
        if now - self._measured_at < WINDOW_S:
            return
        requests_s = self._busy_s() - self._encoded_s
        self._load = min(1.0, max(0.0, requests_s - self._requests_s) / (now - self._measured_at))
        self._measured_at, self._requests_s = now, requests_s
