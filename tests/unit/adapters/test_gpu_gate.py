"""Calls of a GPU run side by side, and a capture by itself, whatever is loaded meanwhile."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from diptych.adapters.gpu_gate import GpuGate, NoTurn

WAIT_S = 10.0


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_calls_run_side_by_side() -> None:
    gate, both = GpuGate(), threading.Barrier(2, timeout=WAIT_S)

    def call() -> None:
        with gate.beside_others():
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(call), pool.submit(call)]:
            future.result(WAIT_S)


def test_capture_waits_for_calls_that_run_and_goes_before_those_that_come() -> None:
    gate, order = GpuGate(), []
    inside, may_end = threading.Event(), threading.Event()

    def call(name: str) -> None:
        with gate.beside_others():
            order.append(name)
            inside.set()
            assert may_end.wait(WAIT_S)

    def capture() -> None:
        with gate.alone():
            order.append("capture")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(call, "first")
        assert inside.wait(WAIT_S)
        alone = pool.submit(capture)
        wait_until(lambda: gate._n_captures)
        second = pool.submit(call, "second")
        time.sleep(0.01)
        assert order == ["first"]
        may_end.set()
        for future in (first, alone, second):
            future.result(WAIT_S)
    assert order == ["first", "capture", "second"]


def test_captures_take_turns_and_a_failed_one_lets_others_in() -> None:
    gate, n_inside, most = GpuGate(), 0, 0

    def capture() -> None:
        nonlocal n_inside, most
        try:
            with gate.alone():
                n_inside += 1
                most = max(most, n_inside)
                time.sleep(0.001)
                n_inside -= 1
                raise RuntimeError
        except RuntimeError:
            pass

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(capture) for _ in range(8)]:
            future.result(WAIT_S)
    assert most == 1
    with gate.beside_others():
        pass


def test_calls_run_on_while_a_capture_waits_for_a_load_and_the_next_load_waits_for_the_capture() -> None:
    gate, order, may_end = GpuGate(), list[str](), threading.Event()

    def load(name: str) -> None:
        with gate.while_loading():
            order.append(name)
            assert may_end.wait(WAIT_S)

    def capture() -> None:
        with gate.alone():
            order.append("capture")

    def call() -> None:
        with gate.beside_others():
            order.append("call")

    with ThreadPoolExecutor(4) as pool:
        try:
            first = pool.submit(load, "first load")
            wait_until(lambda: order)
            alone = pool.submit(capture)
            wait_until(lambda: gate._n_captures)
            second = pool.submit(load, "second load")
            pool.submit(call).result(WAIT_S)
            assert order == ["first load", "call"]
        finally:
            may_end.set()
        for future in (first, alone, second):
            future.result(WAIT_S)
    assert order == ["first load", "call", "capture", "second load"]


def test_capture_that_gets_no_turn_gives_up_and_says_why_and_holds_nobody_up_afterwards() -> None:
    gate = GpuGate(within_s=0.01)
    with gate.while_loading():
        with pytest.raises(NoTurn, match=r"within 0.01 s, as something else was being loaded"), gate.alone():
            pass
        with gate.while_loading(), gate.beside_others(), pytest.raises(NoTurn), gate.alone():
            pass
    with gate.beside_others():
        with pytest.raises(NoTurn, match="as 1 calls ran on"), gate.alone():
            pass
        with gate.while_loading():
            pass
    with gate.alone():
        pass


def test_calls_that_were_held_up_by_a_capture_go_before_the_next_one() -> None:
    gate, order = GpuGate(), list[str]()

    def capture(name: str) -> None:
        with gate.alone():
            order.append(name)

    def call() -> None:
        with gate.beside_others():
            order.append("call")

    with ThreadPoolExecutor(7) as pool:
        with gate.alone():
            calls = [pool.submit(call) for _ in range(3)]
            wait_until(lambda: gate._n_held_up == 3)
            captures = [pool.submit(capture, f"capture {n}") for n in range(3)]
            wait_until(lambda: gate._n_captures == 3)
        for future in (*calls, *captures):
            future.result(WAIT_S)
    assert order[:3] == ["call"] * 3
    assert (gate._n_held_up, gate._n_before_next, gate._n_captures) == (0, 0, 0)
