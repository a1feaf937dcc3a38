"""uvicorn's server, which signals stop within a bounded time. Knows no route."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from diptych.http.in_flight import InFlightRequests

LOG = logging.getLogger("diptych")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_S = 1  # for those that are sent away to get their 503
CLOSE_S = 10.0  # for writes that have begun, and a batch that runs
EXIT_S = 1.0  # for the interpreter, once everything is closed


def end_after(seconds: float, status: int) -> None:
    """End the process if it still is there then, whatever its threads and its event loop do."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


class GracefulServer(uvicorn.Server):
    """The first signal stops it; a second SIGTERM or SIGINT ends the process at once, by the system's hand.

    It stops listening. Requests that are being served have `grace_s` to finish; after that they get a 503.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        inside: InFlightRequests,
        grace_s: int,
        *,
        end_after: Callable[[float, int], None] = end_after,
    ) -> None:
        config.timeout_graceful_shutdown = grace_s + ANSWER_S
        super().__init__(config)
        self._end_after = end_after
        self._inside = inside
        self._grace_s = grace_s
        self.status = 0  # of the process
        self.ends_within_s = grace_s + ANSWER_S + CLOSE_S + EXIT_S

    def stop(self, number: int, frame: object) -> None:
        """For signal.signal."""
        for one in SIGNALS:  # a terminal that closes may send SIGHUP twice: by its shell and by the system
            signal.signal(one, signal.SIG_IGN if one == signal.SIGHUP else signal.SIG_DFL)
        self.leave()

    def leave(self) -> None:
        """Stop, for a reason of its own. What does not end within its time is ended, and is a failure."""
        self._end_after(self.ends_within_s + EXIT_S, 1)
        self._inside.stopping = True
        self.should_exit = True

    def heed_signals(self) -> None:
        """Let signals stop it, but not a SIGHUP that is ignored already, as below nohup."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.stop)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `stop` is told of signals before the server runs and after it, too."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See the class."""
        self._inside.stopping = True
        if len(self._inside):
            fields = {"requests": len(self._inside)}
            LOG.info("stopping, requests inside are finished", extra={"fields": fields})
        asyncio.get_running_loop().call_later(self._grace_s, self._inside.send_away)
        await super().shutdown(sockets)
        LOG.info("stopped")
        # A thread that still runs, such as a model being loaded, is left.
        self._end_after(EXIT_S, self.status)
