"""The time limit of requests, and how they end when the server stops."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

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


class TimedApp:
    """One application behind the timeout middleware, and the messages that it sent."""

    def __init__(self, app: Any, timeout_s: float = 30.0) -> None:
        self.state = ServerState(HttpOptions(), cast(Services, FakeServices()))
        self._middleware = TimeoutMiddleware(app, self.state, timeout_s)
        self.sent: list[Message] = []

    async def request(self) -> None:
        scope: Scope = {"type": "http", "method": "POST", "path": "/embed", "headers": []}
        attach_context(scope, "the-id")
        await self._middleware(scope, _wait_for_ever, self._send)

    @property
    def rejected(self) -> Counter[str]:
        return cast(FakeServices, self.state.services).metrics.rejected

    def problem(self) -> tuple[int, dict[str, Any]]:
        return self.sent[0]["status"], json.loads(self.sent[1]["body"])

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def _wait_for_ever() -> Message:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


class Slow:
    """Begins and ends its response after the given seconds; records how it ended."""

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


def test_work_over_the_time_limit_is_cancelled_with_a_504() -> None:
    app = Slow(3600)
    timed = TimedApp(app, timeout_s=0.05)
    asyncio.run(timed.request())
    status, problem = timed.problem()
    assert (status, problem["title"], problem["request_id"]) == (504, "Gateway Timeout", "the-id")
    assert problem["detail"] == "the request was not answered within 0.05 s"
    assert (app.ends, timed.rejected) == (["cancelled"], {"request_timeout": 1})
    assert len(timed.state.in_flight) == 0


def test_response_that_began_in_time_may_take_longer() -> None:
    timed = TimedApp(Slow(0, 0.2), timeout_s=0.05)
    asyncio.run(timed.request())
    assert kinds(timed.sent) == [200, b"done"]


def test_requests_in_flight_finish_until_their_deadlines_expire() -> None:
    async def scenario() -> None:
        app = Slow(3600)
        timed, quick = TimedApp(app), TimedApp(Slow(0.05))
        quick.state.in_flight.stopping = False
        waiting = [asyncio.create_task(one.request()) for one in (timed, quick)]
        await asyncio.sleep(0)
        timed.state.in_flight.stopping = quick.state.in_flight.stopping = True
        await waiting[1]
        assert (kinds(quick.sent), len(timed.state.in_flight)) == ([200, b"done"], 1)
        timed.state.in_flight.expire_deadlines()
        await waiting[0]
        status, problem = timed.problem()
        assert (status, problem["detail"]) == (503, "the server is stopping")
        assert (app.ends, timed.rejected, len(timed.state.in_flight)) == (
            ["cancelled"],
            {"stopping": 1},
            0,
        )

    asyncio.run(scenario())
