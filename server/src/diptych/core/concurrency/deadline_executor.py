"""Run blocking calls in threads, each within a deadline."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from diptych.bundle.encoder import OnStart, Stop
from diptych.errors import EncoderFailed

Result = TypeVar("Result")

STOP_WITHIN_S = 5.0  # a stop takes effect between two steps of the call, and one step may be long


class Stuck(Exception):
    """A call did not end although it was asked to stop: its thread is lost."""


class DeadlineExecutor:
    """`n_threads` threads for calls that may hang.

    A call that takes longer than `timeout_s` is asked to stop, and fails once it has stopped. If it has not
    ended after another `stop_within_s`, it counts as stuck for ever.
    """

    def __init__(
        self, name: str, n_threads: int, *, timeout_s: float, stop_within_s: float = STOP_WITHIN_S
    ) -> None:
        self._threads = ThreadPoolExecutor(max_workers=n_threads, thread_name_prefix=name)
        self.timeout_s = timeout_s  # of calls that start from now on
        self._stop_within_s = stop_within_s
        self._n_late = 0

    @property
    def problem(self) -> str:
        """Why requests should not come now: a call is past its deadline and has not ended. Empty if all is
        well.
        """
        return f"the encoder has not answered for {self.timeout_s:g} s" if self._n_late else ""

    def start(self, call: Callable[[OnStart], Result]) -> Coroutine[Any, Any, Result]:
        """Submit `call` to a thread at once; await the returned coroutine for its result or exception.

        The coroutine raises EncoderFailed when the call had to be stopped, Stuck when it cannot be stopped.
        `call` receives a function, which it calls with a way to stop it. Never run more calls at once than
        there are threads: waiting for a thread would count as hanging.
        """
        handle = _Handle()
        return self._end_of(self._submitted(call, handle), handle)

    def close(self) -> None:
        """Accept no further calls; calls that still run are not waited for."""
        self._threads.shutdown(wait=False)

    def _submitted(self, call: Callable[[OnStart], Result], handle: "_Handle") -> Future[Result]:
        try:
            return self._threads.submit(_contained, call, handle)
        except Exception as error:  # no thread could be started, yet one may find the call in the queue later
            handle.is_dropped = True
            failed = Future[Result]()
            failed.set_exception(error)
            return failed

    async def _end_of(self, running: Future[Result], handle: "_Handle") -> Result:
        ending = asyncio.wrap_future(running)
        await asyncio.wait([ending], timeout=self.timeout_s)
        if ending.done():
            return ending.result()
        self._n_late += 1
        handle.stop()
        await asyncio.wait([ending], timeout=self._stop_within_s)
        if not ending.done():
            raise Stuck(self.problem)  # it is never counted as ended
        self._n_late -= 1
        if ending.exception() is None:
            return ending.result()  # it ended by itself after all
        raise EncoderFailed(f"the encoder did not answer within {self.timeout_s:g} s")


def _contained(call: Callable[[OnStart], Result], handle: "_Handle") -> Result:
    """Run the call, and wrap exceptions that would end the event loop or that no future can hold."""
    if handle.is_dropped:
        raise RuntimeError("nobody waits for this call")
    try:
        return call(handle.started)
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(f"the call raised {type(error).__name__}") from error


class _Handle:
    """Stops one call, even if the stop is requested before the call has said how to stop it."""

    def __init__(self) -> None:
        self.is_dropped = False  # the call must never begin
        self._lock = threading.Lock()
        self._how: Stop | None = None
        self._stopped = False

    def started(self, how: Stop) -> None:
        with self._lock:
            self._how = how
            stopped = self._stopped
        if stopped:
            how()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            how = self._how
        if how is not None:
            how()
