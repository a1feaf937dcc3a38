"""The bodies of all requests, and the bytes that they fetch, share one budget."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from diptych.core.fetching.image_urls import ReserveBytes
from diptych.core.limits import Limits
from diptych.errors import Overloaded, TooLarge
from diptych.http.middleware.body_budget import BodyBudgetMiddleware, memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.state import ServerState

MAX_BODY, MAX_ALL = 9, 10


class Requests:
    """An app whose requests read their body, and then answer and end when the test says so."""

    def __init__(self) -> None:
        options = HttpOptions(limits=Limits(max_body_bytes=MAX_BODY))
        self._budget = BodyBudgetMiddleware(self._app, ServerState(options), max_bytes=MAX_ALL)
        self._read: asyncio.Queue[ReserveBytes] = asyncio.Queue()
        self.answer, self.end = asyncio.Event(), asyncio.Event()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await self._read.put(memory_reserver(Request(scope)))
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.end.wait()

    def send(self, *chunks: int) -> Coroutine[Any, Any, None]:
        waiting = list(chunks)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * waiting.pop(0), "more_body": bool(waiting)}

        async def discard(message: Message) -> None:
            """Drop the response."""

        return self._budget({"type": "http"}, receive, discard)

    async def start(self, *chunks: int) -> tuple[ReserveBytes, "asyncio.Task[None]"]:
        task = asyncio.create_task(self.send(*chunks))
        return await asyncio.wait_for(self._read.get(), 10), task

    def finish(self) -> None:
        self.answer.set()
        self.end.set()


def test_body_over_the_budget_is_rejected_until_another_request_responds() -> None:
    async def run() -> None:
        requests = Requests()
        _, running = await requests.start(5, 3)
        with pytest.raises(Overloaded, match="8 bytes are being read, limit is 10"):
            await requests.send(3)
        requests.answer.set()
        await asyncio.sleep(0)
        _, other = await requests.start(9)  # the first is answered, though it has not ended
        requests.end.set()
        await asyncio.gather(running, other)

    asyncio.run(run())


def test_body_and_fetched_bytes_share_both_limits_until_the_response() -> None:
    async def run() -> None:
        requests = Requests()
        first, first_task = await requests.start(3)
        second, second_task = await requests.start(0)
        first(6)
        with pytest.raises(TooLarge, match="over 9 bytes together"):
            first(1)
        with pytest.raises(Overloaded, match="limit is 10"):
            second(2)
        second(1)
        requests.finish()
        await asyncio.gather(first_task, second_task)
        third, third_task = await requests.start(0)
        third(9)
        await third_task

    asyncio.run(run())


def test_cancelled_request_releases_its_memory() -> None:
    async def run() -> None:
        requests = Requests()
        reserve, task = await requests.start(4)
        reserve(5)
        task.cancel()
        await asyncio.wait([task])
        reserve, task = await requests.start(0)
        reserve(9)
        requests.finish()
        await task

    asyncio.run(run())
