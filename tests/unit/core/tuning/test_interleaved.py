"""Timing several options in turns, by a clock that only their runs advance."""

from collections.abc import Iterator

from diptych.core.tuning.interleaved import median_seconds


class Machine:
    """Every run of an option takes the next of its seconds."""

    def __init__(self, **seconds: list[float]) -> None:
        self.now = 0.0
        self.runs = ""
        self._seconds: dict[str, Iterator[float]] = {name: iter(taken) for name, taken in seconds.items()}

    def run(self, option: str) -> None:
        self.now += next(self._seconds[option])
        self.runs += option

    def median_seconds(self, budget_s: float, max_rounds: int = 5) -> dict[str, float]:
        def clock() -> float:
            return self.now

        return median_seconds(
            list(self._seconds), self.run, budget_s, max_rounds=max_rounds, cost=clock, clock=clock
        )


def test_options_take_turns_and_their_first_run_does_not_count() -> None:
    machine = Machine(a=[50.0, 1.0, 9.0, 2.0], b=[3.0, 4.0, 3.0, 30.0])
    assert machine.median_seconds(budget_s=1000.0, max_rounds=3) == {"a": 2.0, "b": 4.0}
    assert machine.runs == "ab" * 4


def test_rounds_end_when_another_one_would_exceed_the_budget() -> None:
    machine = Machine(a=[1.0] * 9)
    assert machine.median_seconds(budget_s=3.5) == {"a": 1.0}
    assert machine.now == 4.0


def test_every_option_is_timed_once_however_long_it_takes() -> None:
    machine = Machine(a=[100.0] * 2, b=[200.0] * 2)
    assert machine.median_seconds(budget_s=1.0) == {"a": 100.0, "b": 200.0}
