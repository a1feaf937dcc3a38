"""Time the decoding of pictures by itself in one thread; a worker."""

import time
from itertools import cycle
from pathlib import Path

from benchmarks.serving.load import read_bodies
from benchmarks.serving.reference import decoder_of
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import answer


def measure(folder: str, pictures: str, seconds: float) -> Figures:
    """Milliseconds of processor time a picture, from its bytes to its pixels, decoded exactly."""
    decode, supply, n_pictures = decoder_of(Path(folder), "exact"), cycle(read_bodies(Path(pictures))), 0
    began, cpu = time.perf_counter(), time.thread_time()
    while time.perf_counter() < began + seconds or not n_pictures:
        decode(next(supply))
        n_pictures += 1
    return {"cpu_ms": 1000 * (time.thread_time() - cpu) / n_pictures}


if __name__ == "__main__":
    answer(measure)
