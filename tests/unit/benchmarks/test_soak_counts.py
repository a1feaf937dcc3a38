import random

import pytest

from benchmarks.soak.steps import percentile_ms, step_of, together
from benchmarks.soak.tally import TOLD, Tally
from benchmarks.soak.trend import line


@pytest.mark.parametrize("share", [0.5, 0.99, 1.0])
def test_a_percentile_of_steps_is_within_two_percent_of_that_of_the_values(share: float) -> None:
    draw = random.Random(0)
    values = sorted(draw.lognormvariate(3, 1) for _ in range(1000))
    exact = values[max(0, int(share * 1000) - 1)]
    halves = [together([{step_of(value): 1} for value in half]) for half in (values[:500], values[500:])]
    assert percentile_ms(together(halves), share) == pytest.approx(exact, rel=0.02)
    assert percentile_ms({}, share) is None


def test_the_line_through_values_on_a_line_is_that_line() -> None:
    found = line([10, 20, 40], [100, 110, 130])
    assert found is not None
    assert found.slope == pytest.approx(1)
    assert found.growth == pytest.approx(0.3)
    assert found.at(30) == pytest.approx(120)
    assert line([5, 5], [1, 2]) is None


def test_counts_are_taken_once_and_failures_told_up_to_a_bound() -> None:
    tally = Tally()
    tally.good("embed", "200", 5.0)
    tally.good("embed", "429", 1.0)
    for number in range(TOLD + 5):
        tally.fail(f"number {number}")
    tally.cosine(0.5)
    counts = tally.take()
    assert counts.good == {"embed": {"200": 1, "429": 1}}
    assert sum(counts.ms["embed"].values()) == 1  # what was refused for a while has no latency
    assert (counts.n_failed, len(counts.told), counts.lowest_cosine) == (TOLD + 5, TOLD, 0.5)
    assert tally.take().n_failed == 0
    assert tally.n_failed == TOLD + 5
