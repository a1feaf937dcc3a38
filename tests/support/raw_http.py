"""A server on a free port in this event loop, and raw connections to it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from diptych.core.limits import Limits
from diptych.core.ports import Reason
from diptych.http.server.connection import connection_class
from diptych.http.server.graceful_stop import GracefulServer
from diptych.http.state import InFlightRequests

WITHIN_S = 20.0
LIMITS = Limits()
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class RawResponse:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ServerHandle:
    """A running server, and connections to it."""

    def __init__(self, server: GracefulServer, port: int) -> None:
        self.server = server
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"") -> Connection:
        """Open a connection and send bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        writer.write(data)
        return reader, writer

    async def disconnect_all(self) -> None:
        """Abort all connections."""
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    app: Any,
    limits: Limits = LIMITS,
    *,
    count_rejected: Callable[[Reason], None] = lambda reason: None,
    in_flight: InFlightRequests | None = None,
    grace_s: int = 1,
    keep_alive_s: int = 30,
    listener: socket.socket | None = None,
) -> AsyncIterator[ServerHandle]:
    """Serve the application; stop the server at the end, as a signal does."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=connection_class(limits, count_rejected),
        lifespan="on",
        ws="none",
        log_config=None,
        timeout_keep_alive=keep_alive_s,
    )
    server = GracefulServer(
        config,
        InFlightRequests() if in_flight is None else in_flight,
        grace_s,
        end_after=lambda seconds, status: None,
    )
    running = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(WITHIN_S):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        handle = ServerHandle(server, listener.getsockname()[1])
        try:
            yield handle
        finally:
            await handle.disconnect_all()
    finally:
        server.should_exit = True
        async with asyncio.timeout(WITHIN_S):
            await running


async def read_response(reader: asyncio.StreamReader) -> RawResponse:
    """Read the next response, which must have a Content-Length."""
    async with asyncio.timeout(WITHIN_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return RawResponse(int(head[0].split()[1]), headers, body)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection before it sends anything else."""
    async with asyncio.timeout(WITHIN_S):
        try:
            return await reader.read(1) == b""
        except ConnectionResetError:
            return True


async def wait_until(condition: Callable[[], Any]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.01)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in an event loop like that of the server (uvloop)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
