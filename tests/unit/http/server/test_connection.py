"""What a connection may cost, over real sockets. The application behind it is a few lines."""

import asyncio
import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from diptych.core.limits import Limits
from diptych.http.server.connection import MAX_PIPELINED
from support.raw_http import Place, answer_of, is_hung_up, run, serving, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT_S = 0.2
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class App:
    """Answers `ok`, or `n_bytes` bytes; `gate` holds answers back. Never reads a body."""

    def __init__(self, n_bytes: int = 0) -> None:
        self.n_asked = 0
        self.n_bytes = n_bytes
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.n_asked += 1
        await self.gate.wait()
        body = b"x" * self.n_bytes or b"ok"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Listening(App):
    """Answers nothing and hears what comes, until its caller has left."""

    def __init__(self) -> None:
        super().__init__()
        self.n_left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        self.n_asked += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        self.n_left += 1


def bounded(app: Any, counts: Counter[str], **given: Any) -> AbstractAsyncContextManager[Place]:
    return serving(app, Limits(**given), count_rejected=lambda reason: counts.update([reason]))


def test_head_that_does_not_come_is_not_waited_for_however_it_drips() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with bounded(App(), counts, header_timeout_s=SHORT_S) as place:
            silent, _ = await place.call()
            begun, writer = await place.call(b"GET / HTTP/1.1\r\nA: ")
            dripping = asyncio.create_task(drip(writer))
            answer = await answer_of(begun)
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.json()["detail"] == "head was not complete in time"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            assert await is_hung_up(begun)
            assert await is_hung_up(silent)
            assert counts == {"header_timeout": 1}
            await dripping

    async def drip(writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(200):
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass

    run(scenario)


def test_second_head_of_a_connection_has_its_own_time() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with bounded(App(), counts, header_timeout_s=SHORT_S) as place:
            reader, writer = await place.call(GET)
            assert (await answer_of(reader)).status == 200
            await asyncio.sleep(3 * SHORT_S)  # idle between requests is another matter
            writer.write(b"GET")
            assert (await answer_of(reader)).status == 408

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
def test_head_without_end_ends_the_connection(kind: str) -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()  # a request with a trailer, or with another behind it, is still inside
        async with bounded(app, counts) as place:
            _, writer = await place.call()
            with suppress(ConnectionError):
                for piece in ENDLESS_HEADS[kind]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
            await until(lambda: not place.server.server_state.connections)
            assert counts == {"head_too_large": 1}
            app.gate.set()

    run(scenario)


@pytest.mark.parametrize("rest", [b"0\r\nA: ", b"3;"], ids=["trailer", "chunk extension"])
def test_what_is_too_long_in_a_body_is_answered(rest: bytes) -> None:
    async def scenario() -> None:
        app = App()
        app.gate.clear()
        async with bounded(app, Counter[str]()) as place:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            reader, _ = await place.call(head + rest + b"a" * 500_000)
            assert (await answer_of(reader)).status == 431
            app.gate.set()

    run(scenario)


@pytest.mark.parametrize("kind", ["one piece", "two pieces"])
def test_body_that_comes_with_its_head_is_none_of_it(kind: str) -> None:
    async def scenario() -> None:
        async with serving(App()) as place:
            head, body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", b"x" * 200_000
            cut = 0 if kind == "one piece" else 10
            reader, writer = await place.call(head[:cut])
            await asyncio.sleep(0.01)
            writer.write(head[cut:] + body + GET)
            for _ in range(2):
                assert (await answer_of(reader)).status == 200

    run(scenario)


def test_requests_that_are_sent_ahead_are_answered_in_turn() -> None:
    async def scenario() -> None:
        async with serving(App()) as place:
            reader, _ = await place.call(GET * MAX_PIPELINED)
            for _ in range(MAX_PIPELINED):
                assert (await answer_of(reader)).status == 200

    run(scenario)


def test_requests_that_are_sent_far_ahead_end_the_connection() -> None:
    async def scenario() -> None:
        app = App()
        app.gate.clear()
        async with serving(app) as place:
            reader, _ = await place.call(GET * 10 * MAX_PIPELINED)
            assert await is_hung_up(reader)
            app.gate.set()

    run(scenario)


@pytest.mark.parametrize("rest", [b"", b"12345", b"0123456789"], ids=len)
def test_body_that_comes_after_its_answer_is_not_waited_for_long(rest: bytes) -> None:
    async def scenario() -> None:
        async with serving(App(), Limits(header_timeout_s=SHORT_S), keep_alive_s=1) as place:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
            reader, writer = await place.call(head)
            assert (await answer_of(reader)).status == 200
            writer.write(rest)
            assert await is_hung_up(reader)

    run(scenario)


def test_connection_goes_on_after_a_body_that_came_after_its_answer() -> None:
    async def scenario() -> None:
        async with serving(App()) as place:
            reader, writer = await place.call(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            assert (await answer_of(reader)).status == 200
            writer.write(b"0123456789" + GET)
            assert (await answer_of(reader)).status == 200

    run(scenario)


def test_connection_beyond_the_limit_is_refused_until_another_ends() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with bounded(App(), counts, max_connections=3) as place:
            taken = [await place.call(GET) for _ in range(3)]
            for reader, _ in taken:
                assert (await answer_of(reader)).status == 200
            beyond, _ = await place.call()
            refused = await answer_of(beyond)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert await is_hung_up(beyond)
            assert counts == {"connections_full": 1}
            taken[0][1].close()
            await until(lambda: len(place.server.server_state.connections) == 2)
            reader, _ = await place.call(GET)
            assert (await answer_of(reader)).status == 200

    run(scenario)


@pytest.mark.parametrize("sent", [POST + b"x" * 100_000, GET * 3], ids=["in a body", "others behind it"])
def test_request_hears_that_its_caller_left(sent: bytes) -> None:
    async def scenario() -> None:
        app = Listening()
        async with serving(app) as place:
            _, writer = await place.call(sent)
            await until(lambda: app.n_asked)
            assert app.n_left == 0
            writer.transport.abort()
            await until(lambda: app.n_left == 1)

    run(scenario)


def test_answer_to_a_caller_that_left_with_others_behind_it_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        app = App(n_bytes=20_000_000)
        async with serving(app) as place:
            _, writer = await place.call(GET * 3)
            await until(lambda: app.n_asked)
            writer.transport.abort()
            await until(lambda: not place.server.server_state.tasks)

    run(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
