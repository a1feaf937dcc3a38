"""What a connection may cost, over real sockets. The application behind it is a few lines."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from diptych.http.connection import MAX_TURNED_AWAY, ConnectionTerms
from diptych.http.turned_away import MAX_HEAD_BYTES, MAX_PIPELINED, MAX_TARGET_BYTES
from support.raw_http import answer_of, is_hung_up, run, serving, until

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


def terms_of(counts: Counter[str], **given: Any) -> ConnectionTerms:
    return ConnectionTerms(count_rejected=lambda reason: counts.update([reason]), **given)


def test_head_that_does_not_come_is_not_waited_for_however_it_drips() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with serving(App(), terms_of(counts, header_timeout_s=SHORT_S)) as place:
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
        async with serving(App(), terms_of(counts, header_timeout_s=SHORT_S)) as place:
            reader, writer = await place.call(GET)
            assert (await answer_of(reader)).status == 200
            await asyncio.sleep(3 * SHORT_S)  # idle between requests is another matter
            writer.write(GET + b"GET")
            assert (await answer_of(reader)).status == 200
            assert (await answer_of(reader)).status == 408

    run(scenario)


def test_idle_connection_is_closed() -> None:
    async def scenario() -> None:
        async with serving(App(), ConnectionTerms(keep_alive_s=SHORT_S)) as place:
            reader, _ = await place.call(GET)
            assert (await answer_of(reader)).status == 200
            assert await is_hung_up(reader)

    run(scenario)


@pytest.mark.parametrize(
    ("field", "pieces"),
    [
        (b"A: " + b"a" * MAX_HEAD_BYTES, 1),  # one field without end
        (b"A: " + b"a" * 2000 + b"\r\n", 100),
        (b"a:\r\n" * 10, 30),
        (b"a:\r\n" * 201 + b"\r\n", 1),
        (b"A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 1),  # a whole one
    ],
)
def test_head_without_end_is_a_431(field: bytes, pieces: int) -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with serving(App(), terms_of(counts)) as place:
            reader, writer = await place.call(b"GET / HTTP/1.1\r\n")
            for _ in range(pieces):
                writer.write(field)
                await asyncio.sleep(0)
            assert (await answer_of(reader)).status == 431
            assert counts == {"head_too_large": 1}

    run(scenario)


def test_longest_target_is_taken_and_one_byte_more_is_a_414() -> None:
    async def scenario() -> None:
        async with serving(App()) as place:
            for n_bytes, status in ((MAX_TARGET_BYTES, 200), (MAX_TARGET_BYTES + 1, 414)):
                target = b"/?q=".ljust(n_bytes, b"a")
                reader, _ = await place.call(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await answer_of(reader)).status == status

    run(scenario)


def test_trailers_without_end_are_cut_off() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts)) as place:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            reader, writer = await place.call(head)
            await until(lambda: app.n_asked)
            writer.write(b"A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 4000)
            assert (await answer_of(reader)).status == 431
            app.gate.set()

    run(scenario)


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n", b"{}\r\n\r\n"]
)
def test_what_is_not_http_gets_a_problem_and_a_line_in_the_log(
    nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with serving(App(), terms_of(counts)) as place:
            reader, _ = await place.call(nonsense)
            answer = await answer_of(reader)
            assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
            assert counts == {"malformed_head": 1}
            (record,) = [record for record in caplog.records if record.name == "diptych.access"]
            assert record.__dict__["fields"]["request_id"] == answer.json()["request_id"]

    with caplog.at_level(logging.INFO, "diptych.access"):
        run(scenario)


def test_requests_that_are_sent_far_ahead_end_the_connection() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts)) as place:
            reader, _ = await place.call(GET * 10 * MAX_PIPELINED)
            assert await is_hung_up(reader)
            assert counts == {"malformed_head": 1}
            app.gate.set()

    run(scenario)


def test_requests_that_are_sent_ahead_are_answered_in_turn() -> None:
    async def scenario() -> None:
        async with serving(App()) as place:
            reader, _ = await place.call(GET * MAX_PIPELINED)
            for _ in range(MAX_PIPELINED):
                assert (await answer_of(reader)).status == 200

    run(scenario)


def test_answer_that_is_not_read_is_let_go() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with serving(App(50_000_000), terms_of(counts, write_timeout_s=SHORT_S)) as place:
            _, writer = await place.call(GET)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: counts)
            await until(lambda: not place.server.server_state.connections)
            assert counts == {"write_timeout": 1}

    run(scenario)


def test_answer_that_is_read_slowly_is_not_idle() -> None:
    async def scenario() -> None:
        n_bytes, counts = 20_000_000, Counter[str]()
        async with serving(App(n_bytes), terms_of(counts, keep_alive_s=SHORT_S)) as place:
            reader, _ = await place.call(GET)
            await asyncio.sleep(4 * SHORT_S)
            assert len((await answer_of(reader)).body) == n_bytes
            assert counts == {}

    run(scenario)


def test_body_that_comes_after_its_answer_is_waited_for_as_a_head_is() -> None:
    async def scenario() -> None:
        async with serving(App(), ConnectionTerms(header_timeout_s=SHORT_S)) as place:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
            complete, writer = await place.call(head)
            assert (await answer_of(complete)).status == 200
            writer.write(b"0123456789")
            await asyncio.sleep(3 * SHORT_S)
            writer.write(GET)
            assert (await answer_of(complete)).status == 200
            stalled, _ = await place.call(head)
            assert (await answer_of(stalled)).status == 200
            assert await is_hung_up(stalled)

    run(scenario)


def test_silent_connections_make_room_for_one_that_asks() -> None:
    async def scenario() -> None:
        counts = Counter[str]()
        async with serving(App(), terms_of(counts, max_connections=5)) as place:
            silent = [await place.call() for _ in range(20)]
            reader, _ = await place.call(GET)
            assert (await answer_of(reader)).status == 200
            assert len(place.server.server_state.connections) <= 5
            assert counts == {"connections_full": 16}
            await until(lambda: sum(one.at_eof() for one, _ in silent) == 16)

    run(scenario)


def test_when_all_connections_are_busy_a_new_one_is_told_so() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts, max_connections=3)) as place:
            busy = [await place.call(GET) for _ in range(3)]
            await until(lambda: app.n_asked == 3)
            reader, _ = await place.call(GET)
            refused = await answer_of(reader)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            app.gate.set()
            for one, _ in busy:
                assert (await answer_of(one)).status == 200

    run(scenario)


def test_one_after_another_is_refused_while_all_connections_are_busy() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts, max_connections=3)) as place:
            for _ in range(3):
                await place.call(GET)
            await until(lambda: app.n_asked == 3)
            for _ in range(6):
                reader, _ = await place.call(GET)
                assert (await answer_of(reader)).status == 503
            assert (app.n_asked, counts) == (3, {"connections_full": 6})
            app.gate.set()

    run(scenario)


def test_those_that_were_turned_away_do_not_pile_up() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts, max_connections=1)) as place:
            await place.call(GET)
            await until(lambda: app.n_asked == 1)
            for _ in range(MAX_TURNED_AWAY + 50):
                await place.call()
            await until(lambda: counts["connections_full"] == MAX_TURNED_AWAY + 50)
            assert len(place.server.server_state.connections) <= MAX_TURNED_AWAY + 2
            app.gate.set()

    run(scenario)


def test_slowest_body_makes_room_when_all_connections_are_taken() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts, max_connections=3)) as place:
            callers = [await place.call(POST + b"x" * n_bytes) for n_bytes in (9000, 10, 9000)]
            await until(lambda: app.n_asked == 3)
            await asyncio.sleep(3 * SHORT_S)  # until none of them keeps a pace
            reader, _ = await place.call(GET)
            slow = await answer_of(callers[1][0])
            assert (slow.status, slow.headers["connection"]) == (408, "close")
            assert "this body came slowest" in slow.json()["detail"]
            assert counts == {"connections_full": 1}
            await until(lambda: app.n_asked == 4)
            app.gate.set()
            for one in (reader, callers[0][0], callers[2][0]):
                assert (await answer_of(one)).status == 200

    run(scenario)


def test_body_that_the_server_holds_up_does_not_give_way() -> None:
    async def scenario() -> None:
        app, counts = App(), Counter[str]()
        app.gate.clear()
        async with serving(app, terms_of(counts, max_connections=1)) as place:
            held_up, _ = await place.call(POST + b"x" * 100_000)
            await until(
                lambda: [one for one in place.server.server_state.connections if one.flow.read_paused]
            )
            for one in place.server.server_state.connections:
                one._body_since -= 3600.0  # type: ignore[union-attr, operator]
            reader, _ = await place.call(GET)
            assert (await answer_of(reader)).status == 503
            app.gate.set()
            assert (await answer_of(held_up)).status == 200

    run(scenario)


@pytest.mark.parametrize("ahead", [b"", GET, GET * 3 + b"GET", POST + b"x" * 40_000], ids=len)
@pytest.mark.parametrize("later", [False, True])
def test_request_inside_is_told_that_its_caller_left_whatever_was_sent_ahead(
    ahead: bytes, later: bool
) -> None:
    async def scenario() -> None:
        app = Listening()
        async with serving(app) as place:
            _, writer = await place.call(GET + (b"" if later else ahead))
            await until(lambda: app.n_asked)
            for piece in (ahead[:60], ahead[60:]) if later else ():
                writer.write(piece)
                await asyncio.sleep(SHORT_S)  # the server stops reading, so that the rest stays unread
            assert app.n_left == 0
            writer.transport.abort()
            await until(lambda: app.n_left == 1)
            assert app.n_asked == 1  # nobody would get the answers to the others
            await until(lambda: not place.server.server_state.connections)

    run(scenario)


def test_requests_sent_ahead_are_told_in_their_turn_that_the_caller_left() -> None:
    async def scenario() -> None:
        app = Listening()
        first = App()

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            one = first if scope["type"] == "lifespan" or not first.n_asked else app
            await one(scope, receive, send)

        async with serving(both) as place:
            reader, writer = await place.call(GET * 3)
            assert (await answer_of(reader)).status == 200
            await until(lambda: app.n_asked == 1)
            await asyncio.sleep(SHORT_S)
            assert app.n_left == 0
            writer.transport.abort()
            await until(lambda: app.n_left == 1)

    run(scenario)
