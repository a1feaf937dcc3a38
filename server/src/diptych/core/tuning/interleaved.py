"""Time several alternatives in turns."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

Option = TypeVar("Option")
Clock = Callable[[], float]

MAX_ROUNDS = 5


def median_seconds(
    options: Sequence[Option],
    run: Callable[[Option], object],
    budget_s: float,
    *,
    max_rounds: int = MAX_ROUNDS,
    cost: Clock = time.perf_counter,
    clock: Clock = time.perf_counter,
) -> dict[Option, float]:
    """Median seconds of each option by the clock `cost`; options take turns, round by round.

    Every option runs once untimed, since its first run may spend seconds on preparation. There is always one
    timed round, and more while they fit into `budget_s` of `clock`.
    """
    for option in options:
        run(option)
    seconds: dict[Option, list[float]] = {option: [] for option in options}
    began = clock()
    for n_done in range(max_rounds):
        if n_done and (clock() - began) * (n_done + 1) / n_done > budget_s:
            break
        for option in options:
            started = cost()
            run(option)
            seconds[option].append(cost() - started)
    return {option: median(taken) for option, taken in seconds.items()}
