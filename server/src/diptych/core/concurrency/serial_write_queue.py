"""Run one write at a time, to its end, even if the caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from diptych.errors import NotReady

Result = TypeVar("Result")


class SerialWriteQueue:
    """The queue of writes of one data folder, and the tasks that run alongside.

    A write touches files, rows and an index in turn. If a client that hangs up cut it short, they would
    disagree until the next start. And no file may be removed as unused while another write is about to use
    it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, write: Coroutine[Any, Any, Result]) -> Result:
        """Run `write` in its turn and return its result; cancelling the caller does not cancel it. Raises
        NotReady.
        """
        try:
            self.require_open()
        except NotReady:
            write.close()
            raise
        return await asyncio.shield(self._begin(self._locked(write)))

    def run_alongside(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """Start work that need not wait for its turn, but must run to its end as well. Raises NotReady."""
        try:
            self.require_open()
        except NotReady:
            work.close()
            raise
        return self._begin(work)

    def require_open(self) -> None:
        """Raise NotReady once the queue is closed."""
        if self._closed:
            raise NotReady("the server is stopping")

    async def close(self) -> None:
        """Accept no more writes, and wait until all that were accepted have ended."""
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
            task.exception()  # retrieved, so that the event loop does not warn about an error nobody awaits
