"""Cancels the work of a request when its client disconnects."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def cancel_on_disconnect(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`. If the client disconnects first, cancel it and raise ClientDisconnect.

    The body must have been read: this function listens to what comes after it. The calling task does the
    work itself, as a task of its own would cost the event loop two more turns before the response. A write
    that has begun is completed even when it is cancelled (see core.concurrency.serial_write_queue).
    """
    connected = asyncio.timeout(None)  # expires when the client disconnects
    worker = asyncio.current_task()
    assert worker is not None, "requests are served by tasks"
    try:
        async with connected:
            watcher = asyncio.create_task(_expire_on_disconnect(request, connected, worker))
            try:
                return await work
            finally:
                watcher.cancel()  # it ends at its next turn; nothing has to wait for that
    except TimeoutError:
        if connected.expired():
            raise ClientDisconnect from None
        raise  # raised by the work itself


async def _expire_on_disconnect(
    request: Request, connected: asyncio.Timeout, worker: "asyncio.Task[Any]"
) -> None:
    with suppress(Exception):  # a connection that cannot be read counts as closed
        while (await request.receive())["type"] != "http.disconnect":
            pass
    if not worker.cancelling():  # a worker that is being cancelled must finish its cleanup
        connected.reschedule(asyncio.get_running_loop().time())
