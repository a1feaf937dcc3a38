"""Share the machine out between batches, lanes and decoding, from measured times; knows nothing of models."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

BATCH_SIZES = (2, 4, 8, 16, 32)  # not 1: an item that is alone is never kept waiting for others
ENOUGH = 0.98  # of the best rate: larger batches than this takes only add waiting
MIN_GAIN = 1.03  # what several lanes must bring: they hold a second copy of the weights
MAX_ROUNDS = 5

Clock = Callable[[], float]
Option = TypeVar("Option")


@dataclass(frozen=True)
class Plan:
    """How one precision runs: batches side by side, their largest size, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


ONE_LANE = Plan(n_lanes=1, image_batch_size=16, text_batch_size=16, n_decode_threads=1)  # before measuring


@dataclass(frozen=True, order=True)
class Way:
    """`n_lanes` batches of `batch_size` items side by side."""

    n_lanes: int
    batch_size: int

    @property
    def n_items(self) -> int:
        """In all lanes together."""
        return self.n_lanes * self.batch_size


def affordable(ways: Iterable[Way], item_s: float, budget_s: float) -> list[Way]:
    """Those that can all be tried twice in the time, cheapest first; always the cheapest of each lane number.

    `item_s`: what one item takes by itself. A slow model is tried on few ways: its batches gain nothing.
    """
    by_cost = sorted(ways, key=lambda way: (way.n_items, way))
    cheapest = {way.n_lanes: way for way in reversed(by_cost)}
    left_s = budget_s / 2
    chosen: list[Way] = []
    for way in by_cost:
        left_s -= way.n_items * item_s
        if left_s >= 0 or cheapest[way.n_lanes] is way:
            chosen.append(way)
    return chosen


def measure_seconds(
    options: Sequence[Option],
    run: Callable[[Option], object],
    budget_s: float,
    *,
    cost: Clock = time.perf_counter,
    clock: Clock = time.perf_counter,
) -> dict[Option, float]:
    """What each takes by the clock `cost`, at best, within `budget_s` of `clock` where one round allows it.

    All take turns, so that a slow moment of the machine hits all.
    """
    best_s = dict.fromkeys(options, math.inf)
    began = clock()
    for n_done in range(MAX_ROUNDS):
        if n_done and clock() - began > budget_s * n_done / (n_done + 1):  # one more would be too much
            break
        for option in options:
            started = cost()
            run(option)
            best_s[option] = min(best_s[option], cost() - started)
    return best_s


def best_way(seconds: Mapping[Way, float]) -> Way:
    """The fewest lanes that nothing beats by MIN_GAIN, then the smallest batch that is fast ENOUGH."""
    rates = {way: way.n_items / max(taken, 1e-9) for way, taken in seconds.items()}
    best_of = {n: max(rate for way, rate in rates.items() if way.n_lanes == n) for n in _lanes(rates)}
    top = max(best_of.values())
    n_lanes = next(n for n, rate in sorted(best_of.items()) if rate * MIN_GAIN >= top)
    fit = [way for way in rates if way.n_lanes == n_lanes and rates[way] >= ENOUGH * best_of[n_lanes]]
    return min(fit)


def _lanes(rates: Mapping[Way, float]) -> set[int]:
    return {way.n_lanes for way in rates}
