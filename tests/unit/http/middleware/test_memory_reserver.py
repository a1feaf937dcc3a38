"""Bytes that a request fetches count as part of its body."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from diptych.core.fetching.image_urls import ReserveBytes
from diptych.core.limits import Limits
from diptych.errors import Overloaded, TooLarge
from diptych.http.middleware.body_budget import BodyBudgetMiddleware, memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.state import ServerState

MAX_BODY, MAX_ALL = 8, 10


class WaitingRequests:
    """An app whose requests read `n_bytes` of body and then wait for `finish`."""

    def __init__(self) -> None:
        options = HttpOptions(limits=Limits(max_body_bytes=MAX_BODY))
        self._budget = BodyBudgetMiddleware(self._app, ServerState(options), max_bytes=MAX_ALL)
        self._waiting: asyncio.Queue[ReserveBytes] = asyncio.Queue()
        self._finished = asyncio.Event()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self._waiting.put(memory_reserver(Request(scope)))
        await self._finished.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def start(self, n_bytes: int) -> tuple[ReserveBytes, "asyncio.Task[None]"]:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * n_bytes}

        async def send(message: Message) -> None:
            """Drop the response."""

        task = asyncio.create_task(self._budget({"type": "http"}, receive, send))
        return await self._waiting.get(), task

    def finish(self) -> None:
        self._finished.set()


def test_body_and_fetched_bytes_share_the_limit_of_a_body() -> None:
    async def run() -> None:
        requests = WaitingRequests()
        reserve, task = await requests.start(3)
        reserve(5)
        with pytest.raises(TooLarge, match="over 8 bytes together"):
            reserve(1)
        requests.finish()
        await task

    asyncio.run(run())


def test_fetched_bytes_count_in_the_budget_of_all_requests_until_the_response() -> None:
    async def run() -> None:
        requests = WaitingRequests()
        first, first_task = await requests.start(1)
        second, second_task = await requests.start(1)
        first(6)
        with pytest.raises(Overloaded, match="limit is 10"):
            second(3)
        second(2)
        requests.finish()
        await asyncio.gather(first_task, second_task)
        third, third_task = await requests.start(0)
        third(8)
        await third_task

    asyncio.run(run())


def test_cancelled_request_releases_its_memory() -> None:
    async def run() -> None:
        requests = WaitingRequests()
        reserve, task = await requests.start(0)
        reserve(8)
        task.cancel()
        await asyncio.wait([task])
        reserve, task = await requests.start(0)
        reserve(8)
        requests.finish()
        await task

    asyncio.run(run())
