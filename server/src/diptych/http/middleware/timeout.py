"""Middleware that limits the time of each request."""

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

_EXTEND = "diptych_extend_deadline"


@dataclass
class _Progress:
    """The progress of one response."""

    has_begun: bool = False


class TimeoutMiddleware:
    """A response must begin within `timeout_s` of the request's head.

    Otherwise the work is cancelled and the response is a 504, or a 503 while the server stops. A response
    that has begun is not cut off: the connection limits how long a client may take to read it.
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
        progress, deadline = _Progress(), asyncio.timeout(self._timeout_s)
        scope.setdefault("state", {})[_EXTEND] = partial(self._extend, deadline)
        self._state.in_flight.add(deadline)
        try:
            async with deadline:
                await self._app(scope, receive, _unset_deadline_on_send(send, progress, deadline))
        except TimeoutError:
            if progress.has_begun or not deadline.expired():  # raised by the work itself
                raise
            await self._timeout_response(scope)(scope, receive, send)
        finally:
            self._state.in_flight.remove(deadline)

    def _extend(self, deadline: asyncio.Timeout) -> None:
        if not (self._state.in_flight.stopping or deadline.expired() or deadline.when() is None):
            deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)

    def _timeout_response(self, scope: Scope) -> Response:
        if self._state.in_flight.stopping:
            self._state.count_rejected("stopping")
            return respond_error(Request(scope), NotReady(STOPPING))
        self._state.count_rejected("request_timeout")
        return respond_http(Request(scope), 504, f"the request was not answered within {self._timeout_s:g} s")


def deadline_extender(request: Request) -> Callable[[], None]:
    """A function that restarts the time of the request, for bodies that take long to arrive.

    It does nothing while the server stops.
    """
    extend: Callable[[], None] = request.scope["state"][_EXTEND]
    return extend


def _unset_deadline_on_send(send: Send, progress: _Progress, deadline: asyncio.Timeout) -> Send:
    async def send_and_unset(message: Message) -> None:
        if not progress.has_begun and not deadline.expired():
            progress.has_begun = True
            deadline.reschedule(None)
        await send(message)

    return send_and_unset
