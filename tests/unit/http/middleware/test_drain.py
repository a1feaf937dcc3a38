"""Responses that are sent before the body has arrived, over real sockets."""

import asyncio
import socket
import urllib.request
from urllib.error import HTTPError

import pytest
from starlette.types import Receive, Scope, Send

from diptych.core.services import Services
from diptych.http.app import create_app
from diptych.http.middleware.drain import BodyDrainMiddleware
from diptych.http.state import InFlightRequests
from support.raw_http import is_closed, read_response, run, serving

LARGE = 30_000_000
CLOSING = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 30000000\r\n\r\n"
LONG_S = 3600.0
SHORT_S = 0.2


async def early_413(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds 413 after the first bytes of a body."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await receive()
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"much"})


def status_of_post(port: int, path: str) -> int:
    """POST with a client that sends `Connection: close` and reads nothing before it has sent everything."""
    headers = {"Content-Type": "application/zip"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"x" * LARGE, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.mark.parametrize(("path", "status"), [("/embed", 503)])
def test_early_response_reaches_a_client_that_sends_its_whole_body(path: str, status: int) -> None:
    async def load() -> Services:
        await asyncio.sleep(LONG_S)
        raise AssertionError("nobody waits that long")

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with serving(create_app(load), listener=listener):
            assert await asyncio.to_thread(status_of_post, port, path) == status

    run(scenario)


def test_response_is_sent_before_the_body_arrives_and_the_connection_closes_after_it() -> None:
    async def scenario() -> None:
        async with serving(BodyDrainMiddleware(early_413, InFlightRequests(), LONG_S)) as handle:
            reader, writer = await handle.connect(CLOSING + b"x")
            answer = await read_response(reader)
            assert (answer.status, answer.body) == (413, b"much")
            writer.write(b"x" * (LARGE - 1))
            await writer.drain()
            assert await is_closed(reader)

    run(scenario)


def test_endless_body_is_not_read_for_ever() -> None:
    async def scenario() -> None:
        async with serving(BodyDrainMiddleware(early_413, InFlightRequests(), SHORT_S)) as handle:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            _, writer = await handle.connect(head)
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                    await writer.drain()

    run(scenario)


@pytest.mark.parametrize("is_answered", [True, False])
def test_stop_does_not_wait_for_the_rest_of_a_body(
    is_answered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        in_flight = InFlightRequests()
        async with serving(
            BodyDrainMiddleware(early_413, in_flight, LONG_S), in_flight=in_flight, grace_s=1
        ) as handle:
            reader, writer = await handle.connect(CLOSING)
            if is_answered:
                writer.write(b"x")
                await read_response(reader)
            handle.server.request_stop()
            writer.write(b"x")
            if not is_answered:
                await read_response(reader)
            assert await is_closed(reader)

    run(scenario)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
