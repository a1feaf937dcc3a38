import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.serving.reference import Cell, overlapped
from diptych.core.types import Embeddings, Pixels

PICTURE = np.zeros((2, 2, 3), np.uint8)
NOTHING = np.zeros((1, 1), np.float32)
SECONDS = 0.5


class Sleeping:
    """Encodes so many images a second in each of its lanes, as if each lane had a core of its own."""

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self.beside = 0
        self.most = 0
        self._lock = threading.Lock()

    def encode_image(self, pixels: Pixels, /) -> Embeddings:
        with self._lock:
            self.beside += 1
            self.most = max(self.most, self.beside)
        time.sleep(len(pixels) / self.per_s)
        with self._lock:
            self.beside -= 1
        return NOTHING


def _rate(batch: int, seconds: float) -> float:
    """Of two lanes that encode 80 images a second each."""
    found = overlapped(Sleeping(80), lambda _: PICTURE, Cell(batch, 2, 1, 1), [b""], seconds)
    return float(found["per_s"])


def test_a_window_that_ends_amid_batches_is_not_a_batch_too_fast() -> None:
    # Two lanes end in pairs, every 0.1 s (batch 8) or 0.2 s (16): windows of any phase see 160 a second.
    # Whole batches would make it 176 and 192 in the windows that end just after a pair.
    asked = [(batch, SECONDS + phase) for batch in (8, 16) for phase in (0.02, 0.06, 0.1)]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda one: _rate(*one), asked))
    # No sleep is shorter than it was asked for: only counting could make it
    # faster, and a busy machine slower.
    assert max(found) <= 160.001, found
    assert min(found) > 0, found


def test_as_many_batches_as_lanes_run_beside_each_other() -> None:
    encoder = Sleeping(400)
    found = overlapped(encoder, lambda _: PICTURE, Cell(4, 3, 1, 1), [b""], 0.1)
    assert encoder.most == 3
    assert (found["batch"], found["lanes"]) == (4, 3)
