"""A result that is loaded in a thread for a caller that leaves is closed once it is there."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from diptych.core.concurrency.load_or_discard import load_or_discard

WAIT_S = 10.0


class Loading:
    """Makes a number; may be held inside. `closed` are those that were, and in which thread."""

    def __init__(self, *, is_held: bool = False, fails: bool = False) -> None:
        self.inside, self.may_end, self.is_closed = (threading.Event() for _ in range(3))
        self.fails = fails
        self.closed: list[tuple[int, bool]] = []
        if not is_held:
            self.may_end.set()

    def load(self) -> int:
        self.inside.set()
        assert self.may_end.wait(WAIT_S)
        if self.fails:
            raise ValueError("it is broken")
        return 7

    def close(self, made: int) -> None:
        self.closed.append((made, threading.current_thread() is threading.main_thread()))
        self.is_closed.set()


def test_caller_that_waits_gets_the_result_or_the_error() -> None:
    found = Loading()
    assert asyncio.run(load_or_discard(found.load, found.close)) == 7
    assert found.closed == []
    found = Loading(fails=True)
    with pytest.raises(ValueError, match="it is broken"):
        asyncio.run(load_or_discard(found.load, found.close))
    assert found.closed == []


@pytest.mark.parametrize("fails", [False, True])
def test_cancelled_caller_does_not_wait_and_a_later_result_is_closed(fails: bool) -> None:
    found = Loading(is_held=True, fails=fails)

    async def story() -> None:
        task = asyncio.create_task(load_or_discard(found.load, found.close))
        await asyncio.to_thread(found.inside.wait, WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert found.closed == []
        found.may_end.set()

    asyncio.run(story())  # which waits for its threads
    assert fails or found.is_closed.wait(WAIT_S)
    assert found.closed == ([] if fails else [(7, False)])


def test_result_that_is_there_already_is_closed_once_and_not_on_the_event_loop() -> None:
    found = Loading()

    async def story() -> None:
        thread = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(thread)
        task = asyncio.create_task(load_or_discard(found.load, found.close))
        await asyncio.sleep(0)  # it has begun
        thread.submit(int).result(WAIT_S)  # it has ended, and the event loop has not heard of it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert found.is_closed.wait(WAIT_S)
    assert found.closed == [(7, False)]
