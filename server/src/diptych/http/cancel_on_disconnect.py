"""Stop work whose caller went away. Knows nothing of the work."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`; when the caller hangs up first it is cancelled and ClientDisconnect raised.

    The body must have been read, since this listens to what comes after it. The work is done by the task
    that asks: a task of its own would make the loop come round twice more before an answer goes out. A write
    that has begun goes on to its end even when it is cancelled (see core.writes).
    """
    connected = asyncio.timeout(None)  # until the caller hangs up
    worker = asyncio.current_task()
    assert worker is not None, "a request is worked on by a task"
    try:
        async with connected:
            hangup = asyncio.create_task(_hangup(request, connected, worker))
            try:
                return await work
            finally:
                hangup.cancel()  # it ends at its next turn, and nobody need wait for that
    except TimeoutError:
        if connected.expired():
            raise ClientDisconnect from None
        raise  # one of the work's own


async def _hangup(request: Request, connected: asyncio.Timeout, worker: "asyncio.Task[Any]") -> None:
    with suppress(Exception):  # a connection that cannot be heard is as good as none
        while (await request.receive())["type"] != "http.disconnect":
            pass
    if not worker.cancelling():  # else it ends already, and what it still waits for it must see out
        connected.reschedule(asyncio.get_running_loop().time())
