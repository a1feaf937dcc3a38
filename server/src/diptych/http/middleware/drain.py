"""Middleware for responses that are sent before the request body has arrived."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.http.state import InFlightRequests

STOPPING_S = 0.5  # while the server stops: responses then have one second, and this must end within it


@dataclass
class _Exchange:
    """The progress of one request."""

    body_ended: bool = False  # the whole body has arrived, or the client has disconnected
    end_is_held: bool = False  # the end of the response is not sent yet


class BodyDrainMiddleware:
    """Sends an early response at once, but ends it only when the body ends, or after `timeout_s`.

    Until then it reads the rest of the body and drops it. A server that closes a connection with unread bytes
    resets it, and a client that is still sending then never reads the response.
    """

    def __init__(self, app: ASGIApp, in_flight: InFlightRequests, timeout_s: float) -> None:
        self._app = app
        self._in_flight = in_flight
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange()

        async def receive_and_note_end() -> Message:
            message = await receive()
            exchange.body_ended = not message.get("more_body", False)
            return message

        async def send_but_hold_end(message: Message) -> None:
            is_end = message["type"] == "http.response.body" and not message.get("more_body")
            if is_end and not exchange.body_ended:
                exchange.end_is_held = True
                message = {**message, "more_body": True}
            await send(message)

        await self._app(scope, receive_and_note_end, send_but_hold_end)
        if exchange.end_is_held:
            with suppress(TimeoutError):
                await self._drain(receive_and_note_end, exchange)
            await send({"type": "http.response.body"})

    async def _drain(self, receive: Receive, exchange: _Exchange) -> None:
        timeout_s = STOPPING_S if self._in_flight.stopping else self._timeout_s
        async with asyncio.timeout(timeout_s) as deadline:
            self._in_flight.add(deadline)  # so that the end of the grace period of a shutdown ends it
            try:
                while not exchange.body_ended:
                    await receive()
            finally:
                self._in_flight.remove(deadline)
