"""GPU calls run concurrently, and a capture alone, also while models are loaded."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from diptych.adapters.cuda.capture_lock import CaptureLock

WAIT_S = 10.0


class Inside:
    """Holds a turn of a lock until it is let go."""

    def __init__(self, pool: ThreadPoolExecutor, turn: object, order: list[str], name: str) -> None:
        self._turn, self._order, self._name = turn, order, name
        self.is_in, self.may_leave = threading.Event(), threading.Event()
        self._future = pool.submit(self._hold)

    def leave(self) -> None:
        self.may_leave.set()
        self._future.result(WAIT_S)

    def _hold(self) -> None:
        with self._turn:  # type: ignore[attr-defined]
            self._order.append(self._name)
            self.is_in.set()
            assert self.may_leave.wait(WAIT_S)


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8)


def test_calls_run_concurrently_and_a_capture_alone_in_order_of_arrival(pool: ThreadPoolExecutor) -> None:
    lock, order = CaptureLock(), list[str]()
    first, second = (Inside(pool, lock.call(), order, name) for name in ("first", "second"))
    assert first.is_in.wait(WAIT_S) and second.is_in.wait(WAIT_S)
    capture = Inside(pool, lock.capture(), order, "capture")
    time.sleep(0.05)
    third = Inside(pool, lock.call(), order, "third")  # came after the capture, which still waits
    first.leave()
    assert not capture.is_in.wait(0.05)
    second.leave()
    assert capture.is_in.wait(WAIT_S)
    assert not third.is_in.wait(0.05)
    capture.leave()
    third.leave()
    assert order[2:] == ["capture", "third"]


def test_calls_that_arrive_during_a_capture_run_before_the_next_one(pool: ThreadPoolExecutor) -> None:
    lock, order = CaptureLock(), list[str]()
    capture = Inside(pool, lock.capture(), order, "capture")
    assert capture.is_in.wait(WAIT_S)
    call = Inside(pool, lock.call(), order, "call")
    time.sleep(0.05)
    again = Inside(pool, lock.capture(), order, "again")
    capture.leave()
    call.leave()
    again.leave()
    assert order == ["capture", "call", "again"]


def test_calls_do_not_wait_for_a_load_that_a_capture_waits_for(pool: ThreadPoolExecutor) -> None:
    lock, order = CaptureLock(), list[str]()
    load = Inside(pool, lock.load(), order, "load")
    assert load.is_in.wait(WAIT_S)
    capture = Inside(pool, lock.capture(), order, "capture")
    time.sleep(0.05)
    for _ in range(3):
        Inside(pool, lock.call(), order, "call").leave()
    assert not capture.is_in.is_set()
    load.leave()
    capture.leave()
    assert order == ["load", "call", "call", "call", "capture"]


def test_lock_is_free_after_a_failed_capture_or_call(pool: ThreadPoolExecutor) -> None:
    lock = CaptureLock()
    for turn in (lock.capture, lock.call, lock.load):
        with pytest.raises(RuntimeError, match="it failed"), turn():
            raise RuntimeError("it failed")
    with lock.capture():
        pass
