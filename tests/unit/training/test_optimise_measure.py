"""Two graphs are compared fairly on a machine that changes its speed."""

import itertools
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest

from diptych_training.export.optimise import measure
from diptych_training.export.optimise.measure import Graph, Speeds, compare_speed

BATCH = np.zeros((8, 4), np.int32)
SPEEDS = (1.0, 1.0, 1.4, 1.4, 1.4, 0.7, 1.0)  # of the machine, turn by turn; no divisor of twelve turns


class Timed:
    """A graph that takes so long, times what the machine takes longer just then."""

    def __init__(self, seconds: float, machine: Iterator[float], lucky_at: int = -1) -> None:
        self._seconds, self._machine, self._lucky_at = seconds, machine, lucky_at
        self.n_runs = -1  # the first one is not timed

    def run(self, _batch: object) -> None:
        self.n_runs += 1

    def spent(self) -> float:
        lucky = 0.5 if self.n_runs == self._lucky_at else 1.0
        return self._seconds * next(self._machine) * lucky


def machine() -> Iterator[float]:
    """The same speed for the two runs of a turn."""
    return itertools.chain.from_iterable((speed, speed) for speed in itertools.cycle(SPEEDS))


def compared(monkeypatch: pytest.MonkeyPatch, before: Timed, after: Timed, least: float = 0.0) -> Speeds:
    def seconds(graph: Graph, batch: object) -> float:
        graph.run(cast(np.ndarray, batch))
        return cast(Timed, graph).spent()

    monkeypatch.setattr(measure, "_seconds", seconds)
    monkeypatch.setattr(measure, "MIN_SECONDS", 0.0)
    return compare_speed(cast(Graph, before), cast(Graph, after), BATCH, least)


def test_a_lucky_run_and_a_machine_of_changing_speed_leave_the_ratio_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speed = machine()
    before, after = Timed(1.0, speed, lucky_at=6), Timed(0.8, speed)
    assert compared(monkeypatch, before, after).ratio == pytest.approx(1.25)


def test_each_graph_is_first_in_every_second_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    class Named(Timed):
        def __init__(self, name: str) -> None:
            super().__init__(1.0, machine())
            self._name = name

        def spent(self) -> float:
            ran.append(self._name)
            return super().spent()

    compared(monkeypatch, Named("a"), Named("b"))
    assert "".join(ran).startswith("abbaabba")
    assert ran.count("a") == ran.count("b") == measure.MIN_ROUNDS


def test_a_graph_that_seems_slower_is_compared_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = machine()
    before, after = Timed(1.0, speed), Timed(1.1, speed)
    assert compared(monkeypatch, before, after, least=0.97).ratio == pytest.approx(1 / 1.1)
    assert after.n_runs == measure.DOUBTED * measure.MIN_ROUNDS


def test_a_graph_that_seemed_slower_by_chance_is_no_longer_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Timed):
        def spent(self) -> float:
            return 1.2 if self.n_runs <= measure.MIN_ROUNDS else 1.0

    before, after = Timed(1.0, itertools.repeat(1.0)), Slow(1.0, itertools.repeat(1.0))
    assert compared(monkeypatch, before, after, least=0.97).ratio >= 0.97
    assert after.n_runs == measure.DOUBTED * measure.MIN_ROUNDS
