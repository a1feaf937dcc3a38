"""What a request fetches elsewhere takes room as if its body had brought it."""

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


class Rooms:
    """An app whose requests have read `n_bytes` of body, and end when they are told to."""

    def __init__(self) -> None:
        options = HttpOptions(limits=Limits(max_body_bytes=MAX_BODY))
        self._budget = BodyBudgetMiddleware(self._app, ServerState(options), max_bytes=MAX_ALL)
        self._waiting: asyncio.Queue[ReserveBytes] = asyncio.Queue()
        self._answer = asyncio.Event()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await self._waiting.put(memory_reserver(Request(scope)))
        await self._answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def enter(self, n_bytes: int) -> tuple[ReserveBytes, "asyncio.Task[None]"]:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * n_bytes}

        async def send(message: Message) -> None:
            """A caller that does not look at its answer."""

        task = asyncio.create_task(self._budget({"type": "http"}, receive, send))
        return await self._waiting.get(), task

    def answer(self) -> None:
        self._answer.set()


def test_body_and_what_is_fetched_have_together_what_a_body_may_have() -> None:
    async def run() -> None:
        rooms = Rooms()
        take, task = await rooms.enter(3)
        take(5)
        with pytest.raises(TooLarge, match="over 8 bytes together"):
            take(1)
        rooms.answer()
        await task

    asyncio.run(run())


def test_fetched_bytes_find_no_room_beside_other_requests_and_are_given_back_with_the_answer() -> None:
    async def run() -> None:
        rooms = Rooms()
        first, first_task = await rooms.enter(1)
        second, second_task = await rooms.enter(1)
        first(6)
        with pytest.raises(Overloaded, match="limit is 10"):
            second(3)
        second(2)
        rooms.answer()
        await asyncio.gather(first_task, second_task)
        third, third_task = await rooms.enter(0)
        third(8)
        await third_task

    asyncio.run(run())


def test_request_that_is_cancelled_gives_its_room_back() -> None:
    async def run() -> None:
        rooms = Rooms()
        take, task = await rooms.enter(0)
        take(8)
        task.cancel()
        await asyncio.wait([task])
        take, task = await rooms.enter(0)
        take(8)
        rooms.answer()
        await task

    asyncio.run(run())
