"""Share the machine out between batches, lanes and decoding, from measured times; knows nothing of models."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

BATCH_SIZES = (
    8,
    16,
    32,
)  # below 8 a batch is slower by some percent, which a few tries hardly tell from noise
MIN_LENGTH = 8  # tokens; shorter texts cost a GPU as much
GPU_BATCH_SIZES = (8, 16, 32, 64, 128, 256)  # a GPU gains by more than a CPU does
SLOW_BATCH_SIZES = ((4,), (1,))  # of models so slow that trying more would take too long
# Of the best rate: larger batches than this takes only add waiting. On a CPU batches of 8 and of 16 differ by
# less than the noise of a few runs, and in service the larger ones wait for pictures that are being decoded.
ENOUGH, GPU_ENOUGH = 0.95, 0.98
DECODE_GAIN = 1.1  # what fewer threads that decode must bring
MIN_GAIN = 1.03  # what fewer lanes must bring to be preferred, or more lanes than two to be worth it
MAX_ROUNDS = 5

Clock = Callable[[], float]
# By the number of lanes: what each item adds to the time of batches that have all cores. Threads of one batch
# wait for each other, the more the more there are, so that an item of a single lane tells nothing of others.
ItemSeconds = Mapping[int, float]
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


def sizes_up_to(max_batch_size: int) -> tuple[int, ...]:
    """The powers of two below it, and itself: batches that are filled up to one of them do not double."""
    powers = (2**n for n in range(max_batch_size.bit_length()))
    return (*(size for size in powers if size < max_batch_size), max_batch_size)


def lengths_up_to(max_length: int) -> tuple[int, ...]:
    """What texts are filled up to on a GPU, where each length takes buffers: few, and none far too long."""
    return tuple(size for size in sizes_up_to(max_length) if size >= MIN_LENGTH or size == max_length)


def sizes_to_try(item_s: ItemSeconds, budget_s: float) -> Sequence[int]:
    """Batch sizes that are worth a try in each of the numbers of lanes."""
    one_of_each_s = sum(n_lanes * seconds for n_lanes, seconds in item_s.items())
    tiers = (BATCH_SIZES, *SLOW_BATCH_SIZES)
    return next((sizes for sizes in tiers if sizes[0] * one_of_each_s <= budget_s), tiers[-1])


def affordable(ways: Iterable[Way], item_s: ItemSeconds, budget_s: float) -> list[Way]:
    """Those that can all be tried twice in the time, cheapest first; always the cheapest of each lane number.

    A slow model is tried on few ways: its batches gain nothing.
    """
    cost_s = {way: way.n_items * item_s[way.n_lanes] for way in ways}
    by_cost = sorted(cost_s, key=lambda way: (cost_s[way], way))
    cheapest = {way.n_lanes: way for way in reversed(by_cost)}
    left_s = budget_s / 2
    chosen: list[Way] = []
    for way in by_cost:
        left_s -= cost_s[way]
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


def best_way(seconds: Mapping[Way, float], enough: float = ENOUGH) -> Way:
    """The number of lanes, then the smallest batch that with them has `enough` of the best rate.

    One lane only where it beats all others by MIN_GAIN: measured alone it is at its best, while in service
    its threads wait for each other whenever something else has a core. Of the others the fewest that nothing
    beats by MIN_GAIN, since a batch takes longer the fewer threads it has.
    """
    rates = {way: way.n_items / max(taken, 1e-9) for way, taken in seconds.items()}
    n_lanes = _lanes({n: max(r for way, r in rates.items() if way.n_lanes == n) for n in _numbers(rates)})
    best = max(rate for way, rate in rates.items() if way.n_lanes == n_lanes)
    return min(way for way, rate in rates.items() if way.n_lanes == n_lanes and rate >= enough * best)


def decode_threads(seconds: Mapping[int, float]) -> int:
    """The number of threads that decode beside an encoder, from the time that both took with each number.

    The largest, unless fewer leave the encoder so much more that both are done sooner by DECODE_GAIN. An
    encoder that is faster than all cores decode waits for them, and leaves them all to decoding.
    """
    fastest = min(seconds.values())
    return max(n for n, taken in seconds.items() if taken <= DECODE_GAIN * fastest)


def _lanes(best_rates: Mapping[int, float]) -> int:
    several = {n: rate for n, rate in best_rates.items() if n > 1}
    top = max(several.values(), default=0.0)
    if best_rates.get(1, 0.0) >= MIN_GAIN * top:
        return 1
    return min(n for n, rate in several.items() if rate * MIN_GAIN >= top)


def _numbers(ways: Iterable[Way]) -> set[int]:
    return {way.n_lanes for way in ways}
