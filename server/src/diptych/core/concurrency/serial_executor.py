"""Run calls one after the other in threads that several callers share."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class SerialExecutor(Executor):
    """Runs calls one at a time, in the order of `submit`, in the threads of another executor.

    Several of them on the same threads run side by side and take turns, one call each.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._lock = threading.Lock()  # guards the fields below
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_running = False  # a call runs, or its turn is in the queue of the threads

    def submit(
        self, call: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Run the call after all that were submitted before. Raises what the threads' `submit` raises."""
        future = Future[Result]()
        with self._lock:
            self._waiting.append(partial(_settle, future, partial(call, *args, **kwargs)))
            is_first, self._is_running = not self._is_running, True
        if is_first:
            try:
                self._threads.submit(self._run_next)
            except RuntimeError:  # no thread could be started: a later one finds the turn in the queue
                future.cancel()
                raise
        return future

    def _run_next(self) -> None:
        with self._lock:
            settle = self._waiting.popleft()
        settle()
        del settle  # an idle thread must hold no references
        with self._lock:
            self._is_running = bool(self._waiting)
            has_more = self._is_running
        if has_more:
            with suppress(RuntimeError):  # the process ends, so nobody waits for the result
                self._threads.submit(self._run_next)


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    """Run the call, unless it was cancelled while it waited, and hand its end to the future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # an exception must not end the turn: other calls wait
        future.set_exception(error)
    else:
        future.set_result(result)
