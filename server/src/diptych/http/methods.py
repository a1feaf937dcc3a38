"""HEAD as GET without a body, and the Allow header of a 405. Knows no route by name."""

import asyncio
from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "PATCH", "DELETE", "PUT")


class HeadAsGet:
    """FastAPI's routes answer HEAD with 405; RFC 9110 wants it wherever GET is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        inner = {**scope, "method": "GET"}  # a copy: the HTTP server itself must go on seeing HEAD
        try:
            await _until_the_body(self._app, inner, receive, send)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # the middlewares outside name it


async def _until_the_body(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """The answer's head and its end: a body that would stream on, maybe for hours, is not waited for."""
    ended = False

    async def without_body(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            if ended:
                return
            ended = True
            await send({**message, "body": b"", "more_body": False})
            if message.get("more_body", False):
                answering.cancel()
        else:
            await send(message)

    answering = asyncio.ensure_future(app(scope, receive, without_body))
    try:
        await answering
    except asyncio.CancelledError:
        if not ended or _is_cancelled():
            raise


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def allowed_methods(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """The value of Allow: every method that some route has for this path."""
    routes = list(routes)
    found = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in routes)
    ]
    return ", ".join(["HEAD", *found] if "GET" in found else found)
