"""Time encoders against each other on the same items; knows nothing of what runs them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Encoder, InputIds, Pixels

ROUND_S = 0.25  # about what one run of every encoder may take: slow encoders get small batches
TOWER_S = 2.0  # no round begins later
MIN_ROUNDS, MAX_ROUNDS = 2, 20  # many: on a busy machine only the best of several tells anything

Batch = TypeVar("Batch", Pixels, InputIds)
Clock = Callable[[], float]


@dataclass(frozen=True)
class Pace:
    """Milliseconds per item, at best."""

    image_ms: float
    text_ms: float


def measure_pace(
    encoders: Mapping[str, Encoder],
    pixels: Pixels,
    input_ids: InputIds,
    *,
    max_batch_size: int,
    clock: Clock = time.perf_counter,
) -> dict[str, Pace]:
    """Pace of each encoder on items like (N, S, S, 3) and (M, L). Takes about 5 s at most, unless items do.

    All run in turn, round by round, on batches of one size: a machine that slows down slows them all.
    """
    images = {name: encoder.encode_image for name, encoder in encoders.items()}
    texts = {name: encoder.encode_text for name, encoder in encoders.items()}
    image_ms = _measure(images, pixels, max_batch_size, clock)
    text_ms = _measure(texts, input_ids, max_batch_size, clock)
    return {name: Pace(image_ms[name], text_ms[name]) for name in encoders}


def _measure(
    runs: Mapping[str, Callable[[Batch], object]], items: Batch, max_batch_size: int, clock: Clock
) -> dict[str, float]:
    # The first call of a shape may cost seconds of preparation, and says nothing of the pace.
    alone_s = sum(min(_seconds(run, items[:1], clock) for _ in range(2)) for run in runs.values())
    size = min(max(int(ROUND_S / max(alone_s, 1e-6)), 1), max_batch_size)
    batch = _repeated(items, size)
    best_s = dict.fromkeys(runs, float("inf"))
    began = clock()
    for n_done in range(MAX_ROUNDS):
        if n_done >= MIN_ROUNDS and clock() - began > TOWER_S:
            break
        for name, run in runs.items():
            best_s[name] = min(best_s[name], _seconds(run, batch, clock))
    return {name: 1000 * seconds / size for name, seconds in best_s.items()}


def _repeated(items: Batch, size: int) -> Batch:
    """(N, ...) -> (size, ...): the items over and over."""
    chosen: NDArray[np.intp] = np.arange(size) % len(items)
    return items[chosen]


def _seconds(run: Callable[[Batch], object], batch: Batch, clock: Clock) -> float:
    began = clock()
    run(batch)
    return clock() - began
