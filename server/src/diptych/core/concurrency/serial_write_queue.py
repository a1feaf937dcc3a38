"""Run one write at a time, to its end, even if whoever asked goes away; knows nothing of what is written."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from diptych.errors import NotReady

Result = TypeVar("Result")


class SerialWriteQueue:
    """One queue of writes for the whole data folder, and what runs beside it.

    A write touches files, rows and an index in turn. Cut short by a client that hangs up, it would leave them
    apart until the next start; and no file may be removed as unused while another write is about to use it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, write: Coroutine[Any, Any, Result]) -> Result:
        """What `write` returns or raises; cancelling the caller does not cancel it. Raises NotReady."""
        try:
            self.require_open()
        except NotReady:
            write.close()
            raise
        return await asyncio.shield(self._begin(self._locked(write)))

    def run_alongside(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Begin what need not wait for its turn, and is seen to its end all the same. Raises NotReady."""
        try:
            self.require_open()
        except NotReady:
            work.close()
            raise
        return self._begin(work)

    def require_open(self) -> None:
        """Raises NotReady once no more writes are let in."""
        if self._closed:
            raise NotReady("the server is stopping")

    async def close(self) -> None:
        """Let in no more, and wait until all that were let in have ended."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)

    def _begin(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _locked(self, write: Coroutine[Any, Any, Result]) -> Result:
        async with self._lock:
            return await write

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that an error nobody waits for is no warning of the event loop
