"""Share a few threads fairly between callers who bring much or little work."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from diptych.core.concurrency.fair_queue import FairQueue, current_tenant

Result = TypeVar("Result")


class FairExecutor:
    """`n_threads` threads for which tenants, and the calls of `run` of a tenant, take turns, one piece each.

    The threads take the next piece by themselves, so they never wait for the event loop while there is work.
    """

    def __init__(self, name: str, n_threads: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=n_threads, thread_name_prefix=name)
        self._n_threads = n_threads
        self._lock = threading.Lock()  # guards all fields below, and `n_left` of each _Caller
        self._queue: FairQueue[_Caller[Any], int] = FairQueue()
        self._n_busy = 0

    async def run(
        self, pieces: Sequence[Callable[[], Result]], *, wait_for_running: bool = False
    ) -> list[Result]:
        """Run all pieces and return their results in order. Raises what a piece raised, once all have ended.

        When this call is cancelled, pieces that have not begun never begin, and nothing keeps a reference to
        them. With `wait_for_running` the call then waits for the pieces that run, unless it is cancelled
        again, so that resources that the caller holds for the work stay held while the work runs.
        """
        if not pieces:
            return []
        caller = _Caller(pieces)
        with self._lock:
            self._queue.push(caller, range(len(pieces)), current_tenant())
            n_woken = min(self._n_threads - self._n_busy, len(pieces))
            self._n_busy += n_woken
        for _ in range(n_woken):
            self._threads.submit(self._work)
        try:
            await caller.done
        except asyncio.CancelledError:
            if self._drop(caller) and wait_for_running:
                await caller.done
            raise
        return caller.results()

    def _drop(self, caller: "_Caller[Any]") -> bool:
        """Take back the pieces that have not begun. Return whether some still run; `done` is set at their
        end.
        """
        with self._lock:
            caller.n_left -= self._queue.drop(caller)
            if caller.n_left == 0:
                return False
            caller.renew()
            return True

    def _work(self) -> None:
        """Run pieces until none is left."""
        while True:
            with self._lock:
                taken = self._queue.take(1)
                if not taken:
                    self._n_busy -= 1
                    return
            ((caller, index),) = taken
            caller.do(index)
            with self._lock:
                caller.n_left -= 1
                is_done = caller.n_left == 0
            if is_done:
                caller.report()
            del caller, taken  # an idle thread must hold no references


class _Caller(Generic[Result]):
    """One call of `run`. When `n_left` is 0, it has all results or an error."""

    def __init__(self, pieces: Sequence[Callable[[], Result]]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._results: dict[int, Result] = {}
        self._error: BaseException | None = None
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.n_left = len(pieces)

    def do(self, index: int) -> None:
        try:
            self._results[index] = self._pieces[index]()
        except BaseException as error:  # an exception must not end the thread: others wait for it
            self._error = error

    def report(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            self._loop.call_soon_threadsafe(self._end)

    def renew(self) -> None:
        """Replace `done`, as the first one was cancelled. Called on the loop's thread, as is the code that
        sets it.
        """
        self.done = self._loop.create_future()

    def results(self) -> list[Result]:
        if self._error is None:
            return [self._results[index] for index in range(len(self._pieces))]
        if isinstance(self._error, Exception):
            raise self._error
        raise RuntimeError(f"a thread's work raised {type(self._error).__name__}") from self._error

    def _end(self) -> None:
        if not self.done.done():  # otherwise it was cancelled
            self.done.set_result(None)
