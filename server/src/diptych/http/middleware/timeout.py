"""Middleware that gives each request a limited time. Knows no route."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.errors import NotReady
from diptych.http.errors.problem_json import respond_error, respond_http
from diptych.http.state import STOPPING, ServerState

_MORE_TIME = "diptych_more_time"


@dataclass
class _Answer:
    """What became of one answer so far."""

    begun: bool = False


class TimeoutMiddleware:
    """A request has `timeout_s` from its head until its answer begins; then its work is cancelled and it gets
    a 504, or a 503 when the server stops.

    An answer that has begun is not cut off: how long it may take to be read is the connection's affair.
    """

    def __init__(self, app: ASGIApp, state: ServerState, timeout_s: float) -> None:
        self._app = app
        self._state = state
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer, deadline = _Answer(), asyncio.timeout(self._timeout_s)
        scope.setdefault("state", {})[_MORE_TIME] = partial(self._give_more_time, deadline)
        self._state.inside.enter(deadline)
        try:
            async with deadline:
                await self._app(scope, receive, _watched(send, answer, deadline))
        except TimeoutError:
            if answer.begun or not deadline.expired():  # one of the work's own
                raise
            await self._too_late(scope)(scope, receive, send)
        finally:
            self._state.inside.leave(deadline)

    def _give_more_time(self, deadline: asyncio.Timeout) -> None:
        if not (self._state.inside.stopping or deadline.expired() or deadline.when() is None):
            deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)

    def _too_late(self, scope: Scope) -> Response:
        if self._state.inside.stopping:
            self._state.count_rejected("stopping")
            return respond_error(Request(scope), NotReady(STOPPING))
        self._state.count_rejected("request_timeout")
        return respond_http(Request(scope), 504, f"the request was not answered within {self._timeout_s:g} s")


def more_time_for(request: Request) -> Callable[[], None]:
    """Called by a request that gets on with a long body: its time begins anew, unless the server stops."""
    more_time: Callable[[], None] = request.scope["state"][_MORE_TIME]
    return more_time


def _watched(send: Send, answer: _Answer, deadline: asyncio.Timeout) -> Send:
    async def watched(message: Message) -> None:
        if not answer.begun and not deadline.expired():
            answer.begun = True
            deadline.reschedule(None)
        await send(message)

    return watched
