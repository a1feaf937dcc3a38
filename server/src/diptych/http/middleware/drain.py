"""Middleware for answers that are given before the body has come. Knows no route."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.http.in_flight import InFlightRequests

STOPPING_S = 0.5  # when the server stops: what is left must end within the second that answers have then


@dataclass
class _Exchange:
    """What became of one request so far."""

    has_come: bool = False  # all of the body, or its caller is gone
    is_held: bool = False  # the end of the answer


class BodyDrain:
    """An early answer goes out at once, but ends only when the body does, or after `timeout_s`.

    Until then the rest of the body is read and dropped. A server that closes a connection with bytes unread
    resets it, and a client that still sends never reads its answer.
    """

    def __init__(self, app: ASGIApp, inside: InFlightRequests, timeout_s: float) -> None:
        self._app = app
        self._inside = inside
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange()

        async def heard() -> Message:
            message = await receive()
            exchange.has_come = not message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                exchange.is_held = not exchange.has_come
                message = {**message, "more_body": exchange.is_held}
            await send(message)

        await self._app(scope, heard, answering)
        if exchange.is_held:
            with suppress(TimeoutError):
                await self._drain(heard, exchange)
            await send({"type": "http.response.body"})

    async def _drain(self, receive: Receive, exchange: _Exchange) -> None:
        timeout_s = STOPPING_S if self._inside.stopping else self._timeout_s
        async with asyncio.timeout(timeout_s) as deadline:
            self._inside.enter(deadline)  # so that the end of a stop's grace ends it
            try:
                while not exchange.has_come:
                    await receive()
            finally:
                self._inside.leave(deadline)
