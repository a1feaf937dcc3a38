"""Limits of connections and request heads, over real sockets, with an application of a few lines."""

import asyncio
import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from diptych.core.limits import Limits
from diptych.http.server.connection import MAX_PIPELINED
from support.raw_http import ServerHandle, is_closed, read_response, run, serving, wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class App:
    """Responds `ok`, or `n_bytes` bytes, once `may_respond` is set. Never reads a body."""

    def __init__(self, n_bytes: int = 0) -> None:
        self.n_requests = 0
        self.n_bytes = n_bytes
        self.may_respond = asyncio.Event()
        self.may_respond.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.n_requests += 1
        await self.may_respond.wait()
        body = b"x" * self.n_bytes or b"ok"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Listening(App):
    """Never responds; reads until the client disconnects."""

    def __init__(self) -> None:
        super().__init__()
        self.n_disconnects = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        self.n_requests += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.n_disconnects += 1


def limited(app: Any, counts: Counter[str], **given: Any) -> AbstractAsyncContextManager[ServerHandle]:
    return serving(app, Limits(**given), count_rejected=lambda reason: counts.update([reason]))


def test_head_must_be_complete_in_time_even_if_bytes_keep_arriving() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with limited(App(), counts, header_timeout_s=1) as handle:
            silent, _ = await handle.connect()
            begun, writer = await handle.connect(b"GET / HTTP/1.1\r\nA: ")
            dripping = asyncio.create_task(drip(writer))
            answer = await read_response(begun)
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.json()["detail"] == "head was not complete in time"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            assert await is_closed(begun)
            assert await is_closed(silent)
            assert counts == {"header_timeout": 1}
            await dripping

    async def drip(writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while not writer.is_closing():  # uvloop's closed transport raises RuntimeError
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)

    run(scenario)


ENDLESS_HEADS = {
    "one field": [b"GET / HTTP/1.1\r\nA: "] + [b"a" * 10_000] * 100,
    "many fields": [b"GET / HTTP/1.1\r\n"] + [b"a:\r\n" * 1000] * 500,
    "target": [b"GET /?q="] + [b"a" * 10_000] * 100,
    "trailer": [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "]
    + [b"a" * 10_000] * 100,
    "second head": [GET + b"GET / HTTP/1.1\r\nA: "] + [b"a" * 10_000] * 100,
}


@pytest.mark.parametrize("kind", list(ENDLESS_HEADS))
def test_endless_head_closes_the_connection(kind: str) -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.may_respond.clear()  # a request with a trailer, or with another behind it, is still being served
        async with limited(app, counts) as handle:
            _, writer = await handle.connect()
            with suppress(ConnectionError):
                for piece in ENDLESS_HEADS[kind]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
            await wait_until(lambda: not handle.server.server_state.connections)
            assert counts == {"head_too_large": 1}
            app.may_respond.set()

    run(scenario)


@pytest.mark.parametrize("kind", ["one piece", "two pieces"])
def test_body_that_arrives_with_its_head_does_not_count_as_head(kind: str) -> None:
    async def scenario() -> None:
        async with serving(App()) as handle:
            head, body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", b"x" * 200_000
            cut = 0 if kind == "one piece" else 10
            reader, writer = await handle.connect(head[:cut])
            await asyncio.sleep(0.01)
            writer.write(head[cut:] + body + GET)
            for _ in range(2):
                assert (await read_response(reader)).status == 200

    run(scenario)


def test_too_many_pipelined_requests_close_the_connection() -> None:
    async def scenario() -> None:
        app = App()
        app.may_respond.clear()
        async with serving(app) as handle:
            reader, _ = await handle.connect(GET * 10 * MAX_PIPELINED)
            assert await is_closed(reader)
            app.may_respond.set()

    run(scenario)


@pytest.mark.parametrize("rest", [b"", b"0123456789"], ids=len)
def test_body_after_its_response_is_not_waited_for_long(rest: bytes) -> None:
    async def scenario() -> None:
        async with serving(App(), Limits(header_timeout_s=1), keep_alive_s=1) as handle:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
            reader, writer = await handle.connect(head)
            assert (await read_response(reader)).status == 200
            writer.write(rest)
            assert await is_closed(reader)

    run(scenario)


def test_connection_over_the_limit_is_rejected_until_another_closes() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with limited(App(), counts, max_connections=3) as handle:
            taken = [await handle.connect(GET) for _ in range(3)]
            for reader, _ in taken:
                assert (await read_response(reader)).status == 200
            beyond, _ = await handle.connect()
            refused = await read_response(beyond)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert await is_closed(beyond)
            assert counts == {"connections_full": 1}
            taken[0][1].close()
            await wait_until(lambda: len(handle.server.server_state.connections) == 2)
            reader, _ = await handle.connect(GET)
            assert (await read_response(reader)).status == 200

    run(scenario)


@pytest.mark.parametrize("sent", [POST + b"x" * 100_000, GET * 3], ids=["in a body", "others behind it"])
def test_request_is_notified_when_its_client_disconnects(sent: bytes) -> None:
    async def scenario() -> None:
        app = Listening()
        async with serving(app) as handle:
            _, writer = await handle.connect(sent)
            await wait_until(lambda: app.n_requests)
            assert app.n_disconnects == 0
            writer.transport.abort()
            await wait_until(lambda: app.n_disconnects == 1)

    run(scenario)


def test_response_to_a_disconnected_client_with_pipelined_requests_logs_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        app = App(n_bytes=20_000_000)
        async with serving(app) as handle:
            _, writer = await handle.connect(GET * 3)
            await wait_until(lambda: app.n_requests)
            writer.transport.abort()
            await wait_until(lambda: not handle.server.server_state.tasks)

    run(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
