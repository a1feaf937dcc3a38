"""Count latencies in steps of 2%, so that those of a second fit on a line; knows no request."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

WIDTH = 1.02
LOG_WIDTH = math.log(WIDTH)
SHORTEST_MS = 0.01

Steps = Mapping[str, int]  # step -> how many; the step is written as JSON writes keys


def step_of(ms: float) -> str:
    """The step that is nearest."""
    return str(round(math.log(max(ms, SHORTEST_MS)) / LOG_WIDTH))


def together(all_steps: Iterable[Steps]) -> Counter[str]:
    """One count of many."""
    total: Counter[str] = Counter()
    for steps in all_steps:
        total.update(steps)
    return total


def percentile_ms(steps: Steps, share: float) -> float | None:
    """The smallest step that at least `share` of all are not above, in milliseconds; None of nothing."""
    left = math.ceil(sum(steps.values()) * share)
    for step in sorted(map(int, steps)):
        left -= steps[str(step)]
        if left <= 0:
            return float(WIDTH**step)
    return None
