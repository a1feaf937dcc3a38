"""uvicorn's server with an end of our own: what was let in is finished, the rest is told. Knows no route."""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import uvicorn

from diptych.http.connection import Connection
from diptych.http.inside import Inside

LOG = logging.getLogger("diptych")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANSWER_S = 1.0  # for those that are sent away to get their 503
CLOSE_S = 10.0  # for writes that have begun, and a batch that runs
LAST_S = 0.25  # for requests on their way when it no longer listens
EXIT_S = 1.0  # for the interpreter, once everything is closed
POLL_S = 0.05


def end_after(seconds: float, status: int) -> None:
    """End the process if it still is there then, whatever its threads and its event loop do."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections that wait there, made non-blocking."""
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


class GracefulServer(uvicorn.Server):
    """The first signal stops it; a second SIGTERM or SIGINT ends the process at once, by the system's hand.

    Until everything is closed it listens, so that whoever comes is told to come back, and /healthz is
    answered. Requests that were inside have `grace_s`; those that are left then get a 503.
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
        self.ends_within_s = grace_s + ANSWER_S + CLOSE_S + LAST_S + ANSWER_S + EXIT_S

    def stop(self, number: int, frame: object) -> None:
        """For signal.signal."""
        for one in SIGNALS:  # a terminal that closes may send SIGHUP twice: by its shell and by the system
            signal.signal(one, signal.SIG_IGN if one == signal.SIGHUP else signal.SIG_DFL)
        self._end_after(self.ends_within_s + EXIT_S, 1)  # should the event loop hang
        self.leave()

    def leave(self) -> None:
        """Stop, for a reason of its own."""
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

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        self._sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
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
        await self._end([one for one in self._connections() if one.is_answering()], ends_at)
        await self._close()
        await self._stop_listening(sockets or [])
        await self._until(lambda: not self._connections(), loop.time() + LAST_S)
        await self._end(self._connections(), 0.0)
        LOG.info("stopped")
        # A thread that still runs, such as a model being loaded, is left.
        self._end_after(EXIT_S, self.status)

    async def _end(self, connections: Sequence[Connection], ends_at: float) -> None:
        """Close them once their answers are read, at the latest then."""
        for connection in connections:
            connection.shutdown()
        ends_at = max(ends_at, asyncio.get_running_loop().time() + ANSWER_S)
        await self._until(lambda: not self.server_state.connections.intersection(connections), ends_at)
        for left in self.server_state.connections.intersection(connections):
            left.transport.abort()

    async def _stop_listening(self, listeners: Sequence[socket.socket]) -> None:
        """The system resets connections that were made and not accepted: those are accepted first."""
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        protocol = partial(
            make, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        waiting = [connection for listener in listeners for connection in _accepted(listener)]
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)

    def _connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

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

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in self._connections():
            connection.sweep(now)
