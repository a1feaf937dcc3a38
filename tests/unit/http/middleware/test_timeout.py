"""How long a request may be in_flight, and what becomes of requests when the server stops."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from diptych.core.services import Services
from diptych.http.context import attach_context
from diptych.http.middleware.timeout import TimeoutMiddleware
from diptych.http.options import HttpOptions
from diptych.http.state import ServerState


class CountingMetrics:
    """Only counts rejections."""

    def __init__(self) -> None:
        self.rejected = Counter[str]()

    def count_rejected(self, reason: str) -> None:
        self.rejected[reason] += 1


class FakeServices:
    """Nothing but metrics."""

    def __init__(self) -> None:
        self.metrics = CountingMetrics()


class Outside:
    """A gate around one application, and what came out of it."""

    def __init__(self, app: Any, timeout_s: float = 30.0) -> None:
        self.state = ServerState(HttpOptions(), cast(Services, FakeServices()))
        self._gate = TimeoutMiddleware(app, self.state, timeout_s)
        self.sent: list[Message] = []

    async def ask(self) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/embed", "headers": []}
        attach_context(scope, "the-id")
        await self._gate(scope, _nothing, self._send)

    @property
    def rejected(self) -> Counter[str]:
        return cast(FakeServices, self.state.services).metrics.rejected

    def problem(self) -> tuple[int, dict[str, Any]]:
        return self.sent[0]["status"], json.loads(self.sent[1]["body"])

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def _nothing() -> Message:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


class Slow:
    """Begins to answer, and ends, after the given seconds; remembers how it ended."""

    def __init__(self, begin_s: float, end_s: float = 0.0) -> None:
        self._begin_s, self._end_s = begin_s, end_s
        self.ends: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(self._begin_s)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(self._end_s)
            await send({"type": "http.response.body", "body": b"done"})
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("answered")


def kinds(messages: Sequence[Message]) -> list[Any]:
    return [message.get("status", message.get("body")) for message in messages]


def test_work_that_takes_too_long_is_cancelled_and_is_a_504() -> None:
    app = Slow(3600)
    outside = Outside(app, timeout_s=0.05)
    asyncio.run(outside.ask())
    status, problem = outside.problem()
    assert (status, problem["title"], problem["request_id"]) == (504, "Gateway Timeout", "the-id")
    assert problem["detail"] == "the request was not answered within 0.05 s"
    assert (app.ends, outside.rejected) == (["cancelled"], {"request_timeout": 1})
    assert len(outside.state.in_flight) == 0


def test_answer_that_has_begun_in_time_may_take_longer() -> None:
    outside = Outside(Slow(0, 0.2), timeout_s=0.05)
    asyncio.run(outside.ask())
    assert kinds(outside.sent) == [200, b"done"]


def test_timeout_of_the_work_itself_is_none_of_ours() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("somebody else's")

    outside = Outside(app)
    with pytest.raises(TimeoutError, match="somebody else's"):
        asyncio.run(outside.ask())
    assert (len(outside.state.in_flight), outside.sent) == (0, [])


def test_those_inside_are_finished_until_they_are_sent_away() -> None:
    async def scenario() -> None:
        app = Slow(3600)
        outside, quick = Outside(app), Outside(Slow(0.05))
        quick.state.in_flight.stopping = False
        waiting = [asyncio.create_task(one.ask()) for one in (outside, quick)]
        await asyncio.sleep(0)
        outside.state.in_flight.stopping = quick.state.in_flight.stopping = True
        await waiting[1]
        assert (kinds(quick.sent), len(outside.state.in_flight)) == ([200, b"done"], 1)
        outside.state.in_flight.expire_deadlines()
        await waiting[0]
        status, problem = outside.problem()
        assert (status, problem["detail"]) == (503, "the server is stopping")
        assert (app.ends, outside.rejected, len(outside.state.in_flight)) == (
            ["cancelled"],
            {"stopping": 1},
            0,
        )

    asyncio.run(scenario())


def test_sending_away_leaves_answers_that_have_begun_and_requests_that_are_going() -> None:
    async def scenario() -> None:
        outside = Outside(Slow(0, 0.1), timeout_s=0.05)
        waiting = asyncio.create_task(outside.ask())
        await asyncio.sleep(0.01)
        outside.state.in_flight.expire_deadlines()
        outside.state.in_flight.expire_deadlines()
        await waiting
        assert kinds(outside.sent) == [200, b"done"]

    asyncio.run(scenario())
