"""Stop work whose caller went away. Knows nothing of the work."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`; when the caller hangs up first it is cancelled and ClientDisconnect raised.

    The body must have been read, since this listens to what comes after it. A write that has begun goes on
    to its end even when it is cancelled (see core.writes).
    """
    task = asyncio.create_task(work)
    hangup = asyncio.create_task(_hangup(request))
    try:
        await asyncio.wait({task, hangup}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        result = task.result()
    except BaseException:
        task.cancel()
        hangup.cancel()
        await asyncio.gather(task, hangup, return_exceptions=True)
        raise
    if not hangup.cancel():  # it has ended, too; else it ends at its next turn, and nobody need wait for that
        await asyncio.gather(hangup, return_exceptions=True)
    return result


async def _hangup(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
