"""Run reads side by side and changes alone, in threads that several callers share."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Call:
    settle: Callable[[], None]
    alone: bool


class GatedExecutor(Executor):
    """Runs calls in the threads of another executor, begun in the order of their submission.

    A call of `submit` runs alone, calls of `submit_shared` run side by side, at most `n_shared` of them. The
    order is fair: shared calls that come after a waiting `submit` run after it. Several of these executors on
    the same threads take turns.
    """

    def __init__(self, threads: Executor, n_shared: int) -> None:
        self._threads = threads
        self._n_shared = n_shared
        self._lock = threading.Lock()  # guards the fields below
        self._waiting: deque[_Call] = deque()
        self._n_begun = 0  # calls that run, or are in the queue of the threads
        self._is_alone = False  # the one that has begun runs alone

    def submit(
        self, call: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Run the call alone, after all that were submitted before. Raises as the threads' `submit`."""
        return self._submit(partial(call, *args, **kwargs), alone=True)

    def submit_shared(
        self, call: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Future[Result]:
        """Run the call at the same time as other shared ones. Raises as the threads' `submit`."""
        return self._submit(partial(call, *args, **kwargs), alone=False)

    def _submit(self, call: Callable[[], Result], *, alone: bool) -> Future[Result]:
        future = Future[Result]()
        with self._lock:
            self._waiting.append(_Call(partial(_settle, future, call), alone))
            begun = self._begin()
        try:
            self._hand_over(begun)
        except RuntimeError:  # no thread could be started: a later one finds the call in the queue
            future.cancel()
            raise
        return future

    def _begin(self) -> list[_Call]:
        """Take the calls that may run now out of the queue."""
        begun = list[_Call]()
        while self._waiting and self._may_begin(self._waiting[0]):
            begun.append(self._waiting.popleft())
            self._n_begun += 1
            self._is_alone = begun[-1].alone
        return begun

    def _may_begin(self, call: _Call) -> bool:
        if call.alone or self._is_alone:
            return self._n_begun == 0
        return self._n_begun < self._n_shared

    def _hand_over(self, begun: list[_Call]) -> None:
        for call in begun:
            self._threads.submit(self._run, call.settle)

    def _run(self, settle: Callable[[], None]) -> None:
        settle()
        del settle  # an idle thread must hold no references
        with self._lock:
            self._n_begun -= 1
            begun = self._begin()
        with suppress(RuntimeError):  # the process ends, so nobody waits for the result
            self._hand_over(begun)


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
