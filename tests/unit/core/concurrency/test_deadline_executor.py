import asyncio
import threading
from typing import Any

import pytest

from diptych.core.concurrency.deadline_executor import DeadlineExecutor, Stuck
from diptych.errors import EncoderFailed
from unit.core.core_fakes import until


def calls(*, timeout_s: float = 0.02, stop_within_s: float = 10) -> DeadlineExecutor:
    return DeadlineExecutor("test", 1, timeout_s=timeout_s, stop_within_s=stop_within_s)


async def test_call_in_time_returns_or_raises_its_own() -> None:
    def fail(on_start: Any) -> None:
        raise ZeroDivisionError

    timely = calls(timeout_s=60)
    assert await timely.start(lambda on_start: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await timely.start(fail)
    assert timely.problem == ""


async def test_call_that_hangs_is_stopped_and_has_failed() -> None:
    stopped = threading.Event()

    def hang(on_start: Any) -> None:
        on_start(stopped.set)
        assert stopped.wait(10)
        raise RuntimeError("as onnxruntime does when it is terminated")

    late = calls()
    with pytest.raises(EncoderFailed, match=r"did not answer within 0\.02 s"):
        await late.start(hang)
    assert late.problem == ""
    assert await late.start(lambda on_start: 7) == 7


async def test_stop_reaches_a_call_that_says_too_late_how_to_stop_it() -> None:
    stopped, late = threading.Event(), threading.Event()

    def hang(on_start: Any) -> None:
        assert late.wait(10)  # before anything could be stopped
        on_start(stopped.set)
        assert stopped.wait(10)
        raise RuntimeError

    parts = calls()
    running = asyncio.create_task(parts.start(hang))
    await until(lambda: parts.problem)
    late.set()
    with pytest.raises(EncoderFailed):
        await running


def test_answer_that_comes_after_the_deadline_but_before_the_stop_took_effect_counts() -> None:
    stopped = threading.Event()

    def slow(on_start: Any) -> int:
        on_start(stopped.set)
        assert stopped.wait(10)
        return 7

    assert asyncio.run(calls().start(slow)) == 7


async def test_call_that_cannot_be_stopped_is_stuck_and_the_problem_stays() -> None:
    gate = threading.Event()

    deaf = calls(stop_within_s=0.02)
    with pytest.raises(Stuck):
        await deaf.start(lambda on_start: gate.wait(10))
    assert deaf.problem == "the encoder has not answered for 0.02 s"
    gate.set()


async def test_call_runs_before_anybody_waits_for_it() -> None:
    begun = threading.Event()

    call = calls(timeout_s=60).start(lambda on_start: begun.set())
    assert begun.wait(10)  # the loop does not come round in between
    await call


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
async def test_call_for_which_no_thread_can_be_started_fails_and_never_begins(error: Exception) -> None:
    begun: list[int] = []

    def refuse(self: threading.Thread) -> None:
        raise error

    starved = calls(timeout_s=60)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(type(error)):
            await starved.start(lambda on_start: begun.append(1))
    await starved.start(lambda on_start: begun.append(2))
    assert begun == [2]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()])
def test_exception_that_would_end_the_loop_is_an_ordinary_failure(error: BaseException) -> None:
    def fail(on_start: Any) -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__):
        asyncio.run(calls(timeout_s=60).start(fail))
