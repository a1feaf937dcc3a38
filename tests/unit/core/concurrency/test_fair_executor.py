import asyncio
import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from diptych.core.concurrency.fair_executor import FairExecutor
from diptych.core.concurrency.fair_queue import acting_for
from unit.core.core_fakes import until


class Ledger:
    """Pieces of work that wait for the gate, and a count of the pieces that each caller had done."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    def piece(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            assert self.gate.wait(10)
            self.done.append(name)
            return name

        return work


async def test_callers_take_turns_however_much_one_of_them_brought() -> None:
    ledger, threads = Ledger(), FairExecutor("test", 1)
    large = asyncio.create_task(threads.run([ledger.piece("large")] * 1000))
    await asyncio.sleep(0)
    small = [asyncio.create_task(threads.run([ledger.piece(f"small {n}")])) for n in range(10)]
    await asyncio.sleep(0)
    ledger.gate.set()
    await asyncio.gather(large, *small)
    assert max(ledger.done.index(f"small {n}") for n in range(10)) <= 12
    assert len(ledger.done) == 1010


async def test_keys_take_turns_however_many_calls_one_of_them_makes() -> None:
    ledger, threads = Ledger(), FairExecutor("test", 1)
    with acting_for("greedy"):
        many = [asyncio.create_task(threads.run([ledger.piece("greedy")])) for _ in range(100)]
    await asyncio.sleep(0)
    with acting_for("modest"):
        few = [asyncio.create_task(threads.run([ledger.piece("modest")])) for _ in range(10)]
    await asyncio.sleep(0)
    ledger.gate.set()
    await asyncio.gather(*many, *few)
    assert ledger.done[:22].count("modest") == 10


async def test_no_more_pieces_run_at_once_than_there_are_threads() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.0005)
        with lock:
            running -= 1

    threads = FairExecutor("test", 3)
    await asyncio.gather(*(threads.run([work] * 20) for _ in range(10)))
    assert most == 3


async def test_work_of_a_cancelled_caller_never_begins_and_is_let_go_of() -> None:
    class Payload:
        pass

    ledger, threads = Ledger(), FairExecutor("test", 1)
    busy = asyncio.create_task(threads.run([ledger.piece("busy")]))
    payload = Payload()
    held = weakref.ref(payload)

    def work(payload: Payload) -> None:
        ledger.done.append("gone")

    gone = asyncio.create_task(threads.run([partial(work, payload)] * 5))
    await asyncio.sleep(0)
    del payload
    gone.cancel()
    await asyncio.wait([gone])
    del gone
    assert held() is None  # though the thread is still busy
    ledger.gate.set()
    await busy
    await threads.run([ledger.piece("next")])
    assert ledger.done == ["busy", "next"]


async def test_cancelled_caller_that_sees_its_work_out_waits_for_what_runs_and_no_more() -> None:
    ledger, threads = Ledger(), FairExecutor("test", 1)
    gone = asyncio.create_task(threads.run([ledger.piece("gone")] * 5, wait_for_running=True))
    behind = asyncio.create_task(threads.run([ledger.piece("behind")] * 5, wait_for_running=True))
    await until(lambda: ledger.begun == ["gone"])
    gone.cancel()
    behind.cancel()
    await asyncio.wait([behind])
    assert not gone.done(), "its piece still runs"
    ledger.gate.set()
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert ledger.done == ["gone"]
    assert await threads.run([ledger.piece("next")], wait_for_running=True) == ["next"]


async def test_error_is_raised_and_leaves_the_threads_well() -> None:
    def fail(error: BaseException) -> None:
        raise error

    threads = FairExecutor("test", 2)
    with pytest.raises(ZeroDivisionError):
        await threads.run([partial(fail, ZeroDivisionError()), bool])
    for error in (SystemExit(), KeyboardInterrupt(), StopIteration()):
        with pytest.raises(RuntimeError):
            await threads.run([partial(fail, error)])
    assert await threads.run([bool] * 8) == [False] * 8
