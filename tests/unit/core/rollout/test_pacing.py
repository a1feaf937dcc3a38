"""The share of the encoders that background work takes beside requests."""

import asyncio

import pytest

from diptych.core.rollout import pacing
from diptych.core.rollout.pacing import MIN_SHARE, EncoderShare


class Clock:
    """A clock that only sleeping moves, and encoders that requests use for a share of the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, load: float) -> None:
        self.now, self.ours_s, self._load = 0.0, 0.0, load
        monkeypatch.setattr(pacing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pacing.asyncio, "sleep", self._sleep)

    def busy_s(self) -> float:
        return self._load * self.now + self.ours_s

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds


def share_taken(monkeypatch: pytest.MonkeyPatch, *, load: float, only_spare: bool = False) -> float:
    """Work in pages of 50 ms for a minute; return the share of the time that was work."""
    clock = Clock(monkeypatch, load)
    pace = EncoderShare(clock.busy_s, only_spare=only_spare)
    worked_s = 0.0

    async def work() -> None:
        nonlocal worked_s
        while clock.now < 60:
            clock.now += 0.05
            clock.ours_s += 0.04
            worked_s += 0.05
            await pace.pause(0.05, 0.04)

    asyncio.run(work())
    return worked_s / clock.now


@pytest.mark.parametrize(
    ("load", "only_spare", "expected"),
    [(0.0, False, 1.0), (0.02, False, 0.49), (0.4, False, 0.3), (1.0, False, MIN_SHARE), (0.9, True, 0.05)],
    ids=["idle", "few requests", "many requests", "full", "only spare time"],
)
def test_work_takes_half_of_the_time_that_requests_leave_and_at_least_its_share(
    monkeypatch: pytest.MonkeyPatch, load: float, only_spare: bool, expected: float
) -> None:
    assert share_taken(monkeypatch, load=load, only_spare=only_spare) == pytest.approx(expected, rel=0.3)
