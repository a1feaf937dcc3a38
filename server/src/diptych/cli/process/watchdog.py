"""End a process one of whose threads is lost in a call that never returns. Knows nothing of that call."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable

LOG = logging.getLogger("diptych")
FAREWELL_S = 3.0  # in which requests still get a clean 503, and who asks for readiness learns of it
SLACK_S = 10.0  # beyond the time that a stop is given: then it does not come about
STATUS = 1


class Watchdog:
    """Python waits for all threads when it ends, and would wait for a lost one for ever.

    `stop` asks for an orderly end, which may take `stop_within_s`.
    """

    def __init__(self, stop: Callable[[], None], stop_within_s: float) -> None:
        self._stop = stop
        self._stop_within_s = stop_within_s
        self._is_lost = False

    def lost(self, reason: str) -> None:
        """A thread is lost: stop soon. On the event loop; the first one counts."""
        if self._is_lost:
            return
        self._is_lost = True
        LOG.error("the process will end, as a thread of it is lost: %s", reason)
        asyncio.get_running_loop().call_later(FAREWELL_S, self._stop)
        last = threading.Timer(FAREWELL_S + self._stop_within_s + SLACK_S, _exit)
        last.daemon = True
        last.start()

    def exit_if_lost(self) -> None:
        """After the orderly end: does not return when a thread is lost."""
        if self._is_lost:
            _exit()


def _exit() -> None:
    logging.shutdown()
    os._exit(STATUS)
