"""Calls of a GPU run side by side, and a capture by itself."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from diptych.adapters.gpu_gate import GpuGate

WAIT_S = 10.0


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
        while not gate._n_waiting:
            time.sleep(0.001)
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
