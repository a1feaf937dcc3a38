"""End the process when one of its threads hangs in a call that never returns."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable

LOG = logging.getLogger("diptych")
GRACE_S = 3.0  # time in which requests still get a clean 503 and readiness probes fail
SLACK_S = 10.0  # added to the time limit of an orderly stop; after that the process is killed
STATUS = 1


class Watchdog:
    """Ends the process in spite of a hanging thread, for which Python would wait for ever at exit.

    `stop` starts an orderly stop, which may take `stop_within_s`.
    """

    def __init__(self, stop: Callable[[], None], stop_within_s: float) -> None:
        self._stop = stop
        self._stop_within_s = stop_within_s
        self._hangs = False

    def report_hang(self, reason: str) -> None:
        """Stop soon because a thread hangs. Call on the event loop; only the first call has an effect."""
        if self._hangs:
            return
        self._hangs = True
        LOG.error("the process will end, since one of its threads hangs: %s", reason)
        asyncio.get_running_loop().call_later(GRACE_S, self._stop)
        timer = threading.Timer(GRACE_S + self._stop_within_s + SLACK_S, _exit)
        timer.daemon = True
        timer.start()

    def exit_if_hanging(self) -> None:
        """End the process now if a thread hangs. Call after the orderly stop; returns if no thread hangs."""
        if self._hangs:
            _exit()


def _exit() -> None:
    logging.shutdown()
    os._exit(STATUS)
