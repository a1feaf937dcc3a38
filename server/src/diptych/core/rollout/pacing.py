"""Give way to requests while images are embedded in the background."""

import asyncio
import time
from collections.abc import Callable

WINDOW_S = 1.0  # over which the load by requests is measured
IDLE_LOAD = 0.001  # below it no request comes
SPARE_SHARE = 0.5  # of the time that requests leave; all of it would slow down each request that comes
STEP_S = 0.02


class EncoderShare:
    """Works all the time while no request comes; else half of the time that requests leave, and at least a
    share of all time.
    """

    def __init__(self, share: float, busy_s: Callable[[], float]) -> None:
        """`share` is from 0 to 1. `busy_s` returns the seconds in which encoders were in use so far, by this
        work or by requests.
        """
        self._share = share
        self._busy_s = busy_s
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
        return max(self._share, SPARE_SHARE * (1 - self._load), IDLE_LOAD)

    def _measure(self) -> None:
        """Update the load, once in a while: the share of the time in which requests used the encoders."""
        now = time.monotonic()
        if now - self._measured_at < WINDOW_S:
            return
        requests_s = self._busy_s() - self._encoded_s
        self._load = min(1.0, max(0.0, requests_s - self._requests_s) / (now - self._measured_at))
        self._measured_at, self._requests_s = now, requests_s
