"""Layouts that batches may run in, and the choice between them by measured times."""

from collections.abc import Mapping
from dataclasses import dataclass

# On a CPU, the first size that can be measured in time is taken. Smaller batches are some percent slower;
# batches above 8 gain less than the waiting time that they cost other requests. This holds for texts, too:
# padding costs twice what a batch of 16 gains.
BATCH_SIZES = (8, 4, 1)
GPU_BATCH_SIZES = (8, 16, 32, 64, 128, 256)  # a GPU gains from larger batches than a CPU
MIN_LENGTH = 8  # tokens
MIN_GAIN = 1.03  # a later layout must be so many times as fast as a preferred one
MIN_THREADS_TO_HALVE = 4


@dataclass(frozen=True)
class Plan:
    """How one precision runs: batches at once, their largest sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


# before measuring
SINGLE_WORKER_PLAN = Plan(n_lanes=1, image_batch_size=16, text_batch_size=16, n_decode_threads=1)


@dataclass(frozen=True)
class ExecutionLayout:
    """`n_workers` batches of `batch_size` items at once, each run by `n_threads` threads."""

    n_workers: int
    batch_size: int
    n_threads: int = 1

    @property
    def n_items(self) -> int:
        """Items in all batches together."""
        return self.n_workers * self.batch_size


def cpu_layouts(n_threads: int, batch_size: int, *, n_workers: int = 0) -> list[ExecutionLayout]:
    """The layouts worth measuring, in order of preference; only one if `n_workers` is given.

    A single worker comes last: measured alone it is at its best, while in service its threads wait for each
    other whenever another task takes a core. Half as many workers as threads come first, since a batch takes
    longer the fewer threads it has.
    """
    half = [n_threads // 2] if n_threads >= MIN_THREADS_TO_HALVE else []
    numbers = [n_workers] if n_workers else dict.fromkeys([*half, n_threads, 1])
    return [ExecutionLayout(n, batch_size, max(1, n_threads // n)) for n in numbers]


def gpu_layouts(max_batch_size: int) -> list[ExecutionLayout]:
    """One worker with batches of each size, smallest first: larger batches add waiting time."""
    return [ExecutionLayout(1, size) for size in GPU_BATCH_SIZES if size <= max_batch_size]


def best_layout(seconds: Mapping[ExecutionLayout, float]) -> ExecutionLayout:
    """The first layout that no other beats by more than MIN_GAIN; `seconds` are in order of preference."""
    rates = {layout: layout.n_items / max(taken, 1e-9) for layout, taken in seconds.items()}
    best = max(rates.values())
    return next(layout for layout, rate in rates.items() if rate * MIN_GAIN >= best)


def sizes_up_to(max_batch_size: int) -> tuple[int, ...]:
    """The powers of two below `max_batch_size`, and itself. Padding a batch to the next one at most doubles
    it.
    """
    powers = (2**n for n in range(max_batch_size.bit_length()))
    return (*(size for size in powers if size < max_batch_size), max_batch_size)


def lengths_up_to(max_length: int) -> tuple[int, ...]:
    """The lengths of texts that stand for all lengths where a GPU is warmed and checked."""
    return tuple(size for size in sizes_up_to(max_length) if size >= MIN_LENGTH or size == max_length)
