"""uvicorn's server with an end of our own: what was let in is finished, the rest is told. Knows no route."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from diptych.http.connection import Connection
from diptych.http.inside import Inside

LOG = logging.getLogger("diptych")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ANSWER_S = 1.0  # for those that are sent away to get their 503
CLOSE_S = 10.0  # for writes that have begun, and a batch that runs
EXIT_S = 1.0  # for the interpreter, once everything is closed
POLL_S = 0.05


def end_after(seconds: float, status: int) -> None:
    """End the process if it still is there then, whatever its threads and its event loop do."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


class GracefulServer(uvicorn.Server):
    """The first SIGTERM or SIGINT stops it, the second one ends the process at once, by the system's hand.

    While it stops it still listens, so that whoever comes is told to come back, and /healthz is answered.
    Requests that were inside have `grace_s`; those that are left then get a 503.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        inside: Inside,
        grace_s: float,
        *,
        end_after: Callable[[float, int], None] = end_after,
    ) -> None:
        super().__init__(config)
        self._end_after = end_after
        self._inside = inside
        self._grace_s = grace_s
        self.status = 0  # of the process
        self.ends_within_s = grace_s + ANSWER_S + CLOSE_S + EXIT_S

    def stop(self, number: int, frame: object) -> None:
        """For signal.signal."""
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)
        self._end_after(self.ends_within_s + EXIT_S, 1)  # should the event loop hang
        self.leave()

    def leave(self) -> None:
        """Stop, for a reason of its own."""
        self._inside.stopping = True
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `stop` is told of signals before the server runs and after it, too."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See the class."""
        self._inside.stopping = True
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._grace_s
        if len(self._inside):
            LOG.info(
                "stopping, requests inside are finished", extra={"fields": {"requests": len(self._inside)}}
            )
        await self._until(lambda: not len(self._inside), ends_at)
        self._inside.send_away()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until(lambda: not self.server_state.connections, max(ends_at, loop.time() + ANSWER_S))
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._close()

    async def _until(self, is_done: Callable[[], bool], ends_at: float) -> None:
        loop = asyncio.get_running_loop()
        while not is_done() and loop.time() < ends_at:
            self._sweep()
            await asyncio.sleep(POLL_S)

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), CLOSE_S)
        except TimeoutError:
            LOG.error("ended without waiting for what has not ended within %g s", CLOSE_S)
            self.status = 1
        LOG.info("stopped")
        self._end_after(
            EXIT_S, self.status
        )  # a thread that still runs, such as a model being loaded, is left

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.sweep(now)
