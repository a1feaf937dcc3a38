"""Middleware for answers that are given before the body has come. Knows no route.

A server that answers and hangs up while its caller still sends makes the caller's system throw the answer
away. One that goes on reading for ever is busy for ever.
"""

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 5.0
SMALL_BODY_BYTES = 65_536  # is let come: cheaper than a new connection
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding", b"expect"})


@dataclass
class _Exchange:
    """Where one request and its answer have got to."""

    heard: bool = False  # all of the body, or that the caller is gone
    unread: bool = False  # the answer is there and the body is not


class Linger:
    """The answer goes out at once and says `Connection: close`; what comes then is read and thrown away.

    That ends with the body, when the caller hangs up, and after `linger_s`: then the connection is closed.
    """

    def __init__(self, app: ASGIApp, linger_s: float = LINGER_S) -> None:
        self._app = app
        self._linger_s = linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http" or not any(name in _OF_BODIES for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange()
        hearing = _hearing(receive, exchange)
        await self._app(scope, hearing, _answering(scope, send, exchange))
        if not exchange.unread:
            return
        try:
            async with asyncio.timeout(self._linger_s):
                while not exchange.heard:
                    await hearing()
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _hearing(receive: Receive, exchange: _Exchange) -> Receive:
    async def hearing() -> Message:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            exchange.heard = True
        return message

    return hearing


def _answering(scope: Scope, send: Send, exchange: _Exchange) -> Send:
    async def answering(message: Message) -> None:
        if message["type"] == "http.response.start" and not exchange.heard:
            headers = MutableHeaders(scope=message)
            closes = headers.get("connection", "").lower() == "close"
            if "content-length" in headers and _is_worth_closing(Headers(scope=scope), closes):
                headers["Connection"] = "close"
                exchange.unread = True
        elif exchange.unread and message["type"] == "http.response.body":
            message = {**message, "more_body": True}  # ends when the body has
        await send(message)

    return answering


def _is_worth_closing(asked: Headers, closes: bool) -> bool:
    """Whether a body was announced that nobody has read, and that is too much to be let come."""
    if "expect" in asked:  # it may come, or not: nobody could tell the next request from it
        return True
    length = asked.get("content-length", "0")
    n_bytes = int(length) if length.isdecimal() and len(length) < 20 else SMALL_BODY_BYTES + 1
    return "transfer-encoding" in asked or n_bytes > (0 if closes else SMALL_BODY_BYTES)
