"""The bodies of all requests share one budget."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from diptych.errors import Overloaded
from diptych.http.middleware.body_budget import BodyBudgetMiddleware
from diptych.http.options import HttpOptions
from diptych.http.state import ServerState

SCOPE: Scope = {"type": "http"}


async def discard(message: Message) -> None:
    """Drop the response."""


def chunks(*sizes: int) -> Receive:
    waiting = list(sizes)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * waiting.pop(0), "more_body": bool(waiting)}

    return receive


class Handler:
    """Reads a body; begins its response, and ends, when the test says so."""

    def __init__(self, n_chunks: int) -> None:
        self._n_chunks = n_chunks
        self.answer, self.end = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(self._n_chunks):
            await receive()
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.end.wait()


def budget_of(handlers: Sequence[Handler]) -> BodyBudgetMiddleware:
    waiting = list(handlers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await waiting.pop(0)(scope, receive, send)

    return BodyBudgetMiddleware(app, ServerState(HttpOptions()), max_bytes=10)


def test_body_over_the_budget_is_rejected_until_another_request_responds() -> None:
    async def scenario() -> None:
        first, second, third = Handler(2), Handler(1), Handler(1)
        budget = budget_of([first, second, third])
        running = asyncio.create_task(budget(SCOPE, chunks(5, 3), discard))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 bytes are being read, limit is 10"):
            await budget(SCOPE, chunks(3), discard)
        first.answer.set()
        await asyncio.sleep(0)
        third.answer.set()
        third.end.set()
        await budget(SCOPE, chunks(10), discard)  # the first is answered, though it has not ended
        first.end.set()
        await running

    asyncio.run(scenario())


def test_rejected_and_cancelled_requests_release_their_memory() -> None:
    async def scenario() -> None:
        stalled, refused, last = Handler(1), Handler(2), Handler(1)
        budget = budget_of([stalled, refused, last])
        running = asyncio.create_task(budget(SCOPE, chunks(5), discard))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await budget(SCOPE, chunks(4, 2), discard)
        running.cancel()
        await asyncio.wait([running])
        last.answer.set()
        last.end.set()
        await budget(SCOPE, chunks(10), discard)

    asyncio.run(scenario())
