"""A uvicorn server that stops within a bounded time after a signal."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from diptych.http.state import InFlightRequests

LOG = logging.getLogger("diptych")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_S = 1  # for requests over the grace period, to get their 503
CLOSE_S = 10.0  # to complete writes that have begun and a batch that runs
EXIT_S = 1.0  # for the interpreter to exit, once everything is closed


def end_after(seconds: float, status: int) -> None:
    """Exit the process after this time if it still runs, whatever its threads and its event loop do."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


class GracefulServer(uvicorn.Server):
    """Stops gracefully at the first signal; a second SIGTERM or SIGINT kills the process at once.

    It stops listening. Requests in flight have `grace_s` to finish; after that they get a 503.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        in_flight: InFlightRequests,
        grace_s: int,
        *,
        end_after: Callable[[float, int], None] = end_after,
    ) -> None:
        config.timeout_graceful_shutdown = grace_s + ANSWER_S
        super().__init__(config)
        self._end_after = end_after
        self._in_flight = in_flight
        self._grace_s = grace_s
        self.status = 0  # of the process
        self.ends_within_s = grace_s + ANSWER_S + CLOSE_S + EXIT_S

    def handle_signal(self, number: int, frame: object) -> None:
        """The handler for signal.signal."""
        for signum in SIGNALS:  # a closing terminal may send SIGHUP twice: from its shell and from the system
            signal.signal(signum, signal.SIG_IGN if signum == signal.SIGHUP else signal.SIG_DFL)
        self.request_stop()

    def request_stop(self) -> None:
        """Stop the server. If it takes too long, exit with status 1."""
        self._end_after(self.ends_within_s + EXIT_S, 1)
        self._in_flight.stopping = True
        self.should_exit = True

    def install_signal_handlers(self) -> None:
        """Stop the server on signals, but leave SIGHUP alone where it is already ignored, as under nohup."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.handle_signal)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Override uvicorn's handlers: ours also cover the time before and after the server runs."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See the class."""
        self._in_flight.stopping = True
        if len(self._in_flight):
            fields = {"requests": len(self._in_flight)}
            LOG.info("stopping, requests in flight are finished", extra={"fields": fields})
        asyncio.get_running_loop().call_later(self._grace_s, self._in_flight.expire_deadlines)
        await super().shutdown(sockets)
        LOG.info("stopped")
        # A thread that still runs, such as one that loads a model, is abandoned.
        self._end_after(EXIT_S, self.status)
