"""Answers that are given before the body has come, over real sockets."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from diptych.http.linger import SMALL_BODY_BYTES, Linger
from support.raw_http import answer_of, is_hung_up, run, serving, until

LARGE = SMALL_BODY_BYTES + 1
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Refusing:
    """Answers 413 after `n_read` messages of the body, whatever comes."""

    def __init__(self, n_read: int = 0) -> None:
        self.n_read = n_read
        self.n_done = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        for _ in range(self.n_read):
            await receive()
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"much"})
        self.n_done += 1


def post(*headers: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def lingering(app: Any, linger_s: float = 5.0) -> Linger:
    return Linger(app, linger_s)


def test_who_sends_a_large_body_is_answered_at_once_and_may_finish() -> None:
    async def scenario() -> None:
        app = Refusing()
        async with serving(lingering(app)) as place:
            reader, writer = await place.call(post(f"Content-Length: {50 * LARGE}"))
            answer = await answer_of(reader)
            assert (answer.status, answer.headers["connection"], answer.body) == (413, "close", b"much")
            for _ in range(50):
                writer.write(b"x" * LARGE)
                await writer.drain()
            assert await is_hung_up(reader)

    run(scenario)


def test_a_body_without_end_is_not_read_for_ever() -> None:
    async def scenario() -> None:
        async with serving(lingering(Refusing(n_read=2), linger_s=0.2)) as place:
            reader, writer = await place.call(post("Transfer-Encoding: chunked"))
            endless = asyncio.create_task(send_for_ever(writer))
            answer = await answer_of(reader)
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            await endless

    async def send_for_ever(writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            pass

    run(scenario)


def test_after_a_small_body_the_connection_goes_on() -> None:
    async def scenario() -> None:
        async with serving(lingering(Refusing())) as place:
            reader, writer = await place.call(post(f"Content-Length: {SMALL_BODY_BYTES}"))
            answer = await answer_of(reader)
            assert "connection" not in answer.headers
            writer.write(b"x" * SMALL_BODY_BYTES + GET)
            assert (await answer_of(reader)).status == 413

    run(scenario)


def test_a_body_that_was_asked_about_first_may_never_come() -> None:
    async def scenario() -> None:
        async with serving(lingering(Refusing(), linger_s=0.1)) as place:
            reader, _ = await place.call(post("Content-Length: 3", "Expect: 100-continue"))
            answer = await answer_of(reader)
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert await is_hung_up(reader)

    run(scenario)


def test_request_without_a_body_is_left_alone() -> None:
    async def scenario() -> None:
        app = Refusing()
        async with serving(lingering(app, linger_s=3600)) as place:
            reader, writer = await place.call(GET)
            assert "connection" not in (await answer_of(reader)).headers
            writer.write(GET)
            await answer_of(reader)
            assert app.n_done == 2

    run(scenario)


def test_caller_that_hangs_up_is_not_waited_for() -> None:
    async def scenario() -> None:
        async with serving(lingering(Refusing(), linger_s=3600)) as place:
            reader, writer = await place.call(post(f"Content-Length: {LARGE}"))
            await answer_of(reader)
            writer.close()
            await until(lambda: not place.server.server_state.tasks)

    run(scenario)
