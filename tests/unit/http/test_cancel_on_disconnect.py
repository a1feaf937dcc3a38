"""Work is cancelled when its client disconnects."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import ClientDisconnect, Request

from diptych.http.cancel_on_disconnect import cancel_on_disconnect


def request_of(receive: Callable[[], Awaitable[dict[str, object]]]) -> Request:
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


def request_receiving(*kinds: str) -> Request:
    waiting = list(kinds)

    async def receive() -> dict[str, object]:
        if not waiting:
            await asyncio.sleep(3600)
        return {"type": waiting.pop(0)}

    return request_of(receive)


def test_disconnect_cancels_the_work() -> None:
    cancelled: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ClientDisconnect):
        asyncio.run(cancel_on_disconnect(request_receiving("http.request", "http.disconnect"), work()))
    assert cancelled == [True]


def test_timeout_of_the_work_is_no_disconnect() -> None:
    async def work() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        asyncio.run(cancel_on_disconnect(request_receiving(), work()))


def test_cancelled_work_is_not_cancelled_again_by_a_disconnect() -> None:
    """Resources that a thread uses are kept until the thread is done."""
    completed: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            completed.append(True)
            raise

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    async def serve() -> None:
        async with asyncio.timeout(0.01):
            await cancel_on_disconnect(request_of(receive), work())

    with pytest.raises(TimeoutError):
        asyncio.run(serve())
    assert completed == [True]
