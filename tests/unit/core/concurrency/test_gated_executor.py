"""Calls of one executor run in order, changes alone; those of several share the threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait

import pytest

from diptych.core.concurrency.gated_executor import GatedExecutor


class Gate:
    """A call that begins, and ends when it is let through."""

    def __init__(self) -> None:
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.open.wait(30)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_calls_run_one_at_a_time_in_the_order_of_submission(threads: ThreadPoolExecutor) -> None:
    executor, log, inside = GatedExecutor(threads, 2), list[int](), threading.Lock()

    def call(n: int) -> None:
        assert inside.acquire(blocking=False), "another call runs"
        log.append(n)
        inside.release()

    for future in [executor.submit(call, n) for n in range(200)]:
        future.result(30)
    assert log == list(range(200))


def test_slow_call_delays_those_of_its_own_executor_only(threads: ThreadPoolExecutor) -> None:
    first, second, gate = GatedExecutor(threads, 2), GatedExecutor(threads, 2), Gate()
    slow = first.submit(gate)
    assert gate.began.wait(30)
    behind = first.submit(str, 1)
    assert second.submit(str, 2).result(30) == "2"
    assert not behind.done()
    gate.open.set()
    slow.result(30)
    assert behind.result(30) == "1"


def test_executors_take_turns_on_too_few_threads() -> None:
    with ThreadPoolExecutor(1) as thread:
        many, few, gate, log = GatedExecutor(thread, 2), GatedExecutor(thread, 2), Gate(), list[str]()
        thread.submit(gate)
        futures = [many.submit(log.append, f"many {n}") for n in range(3)]
        futures.append(few.submit(log.append, "few"))
        gate.open.set()
        wait(futures, 30)
    assert log == ["many 0", "few", "many 1", "many 2"]


def test_failed_and_cancelled_calls_do_not_stop_the_next(threads: ThreadPoolExecutor) -> None:
    executor, gate, log = GatedExecutor(threads, 2), Gate(), list[str]()
    executor.submit(gate)
    failing, cancelled = executor.submit(int, "x"), executor.submit(log.append, "cancelled")
    last = executor.submit(log.append, "last")
    assert cancelled.cancel()
    gate.open.set()
    last.result(30)
    assert log == ["last"]
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(30)
    with pytest.raises(CancelledError):
        cancelled.result(30)


def test_shared_calls_run_side_by_side_and_a_change_between_them_alone(threads: ThreadPoolExecutor) -> None:
    executor, first, second, change = GatedExecutor(threads, 2), Gate(), Gate(), Gate()
    shared = [executor.submit_shared(gate) for gate in (first, second)]
    assert first.began.wait(30)
    assert second.began.wait(30)
    alone = executor.submit(change)
    later = executor.submit_shared(str, 1)
    first.open.set()
    shared[0].result(30)
    assert not change.began.is_set(), "a shared call still runs"
    second.open.set()
    assert change.began.wait(30)
    assert not later.done(), "it was submitted after the change"
    change.open.set()
    alone.result(30)
    assert later.result(30) == "1"


def test_shared_calls_of_one_executor_leave_turns_to_another() -> None:
    with ThreadPoolExecutor(1) as thread:
        many, few, gate, log = GatedExecutor(thread, 1), GatedExecutor(thread, 1), Gate(), list[str]()
        thread.submit(gate)
        futures = [many.submit_shared(log.append, f"many {n}") for n in range(3)]
        futures.append(few.submit_shared(log.append, "few"))
        gate.open.set()
        wait(futures, 30)
    assert log == ["many 0", "few", "many 1", "many 2"]
