import asyncio
import threading
import time
from typing import Any

from diptych.core.encoding.health import Health
from unit.core.core_fakes import until


class Canary:
    def __init__(self) -> None:
        self.n_asked = 0
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, on_start: Any) -> None:
        self.n_asked += 1
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("secret")


def health_of(canary: Canary, *, timeout_s: float = 60, **given: Any) -> Health:
    values: dict[str, Any] = {
        "last_success_at": lambda: None,
        "problem": lambda: "",
        "on_stuck": lambda reason: None,
        "period_s": 0.001,
    }
    return Health(canary, timeout_s=lambda: timeout_s, **(values | given))


def state(health: Health) -> tuple[bool, str]:
    report = health.report()
    return report.ready, report.reason


async def test_ready_only_after_the_first_answer_and_not_after_closing() -> None:
    health = health_of(Canary())
    assert state(health) == (False, "the encoder has not been asked yet")
    await health.start()
    assert state(health) == (True, "")
    await health.close()
    assert state(health) == (False, "the server is stopping")


async def test_failing_canary_makes_unready_until_it_answers_again() -> None:
    canary = Canary()
    health = health_of(canary)
    await health.start()
    canary.broken = True
    await until(lambda: not health.report().ready)
    assert health.report().reason == "the canary failed: RuntimeError"
    canary.broken = False
    await until(lambda: health.report().ready)
    await health.close()


async def test_canary_is_skipped_while_batches_succeed() -> None:
    canary, rounds = Canary(), list[float]()

    def just_now() -> float:
        rounds.append(time.monotonic() + 60)
        return rounds[-1]

    health = health_of(canary, last_success_at=just_now)
    await health.start()
    await until(lambda: len(rounds) > 3)
    assert canary.n_asked == 1
    assert health.report().ready
    await health.close()


async def test_hanging_canary_makes_unready_after_the_deadline() -> None:
    canary = Canary()
    health = health_of(canary, timeout_s=0.02)
    await health.start()
    canary.gate.clear()
    await until(lambda: not health.report().ready)
    assert "has not answered" in health.report().reason
    canary.gate.set()
    await until(lambda: health.report().ready)
    await health.close()


async def test_canary_that_cannot_be_stopped_is_reported_once_and_never_ready_again() -> None:
    canary, reasons = Canary(), list[str]()
    health = health_of(canary, timeout_s=0.02, stop_within_s=0.3, on_stuck=reasons.append)
    await health.start()
    canary.gate.clear()
    await until(lambda: reasons)
    await asyncio.sleep(0.02)
    assert reasons == ["the encoder has not answered for 0.02 s"]
    assert state(health) == (False, reasons[0])
    await health.close()
    canary.gate.set()


async def test_batch_that_hangs_makes_unready_whatever_the_canary_says() -> None:
    problem = ""
    health = health_of(Canary(), problem=lambda: problem)
    await health.start()
    problem = "the text encoder hangs"
    assert state(health) == (False, "the text encoder hangs")
    await health.close()
