"""Time the bare image session of one graph at several batches, with nothing around it; a worker."""

import time
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.serving.sharing import n_cpus
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import answer

WARM = 2


def measure(graph: str, batches: list[int], seconds: float) -> list[Figures]:
    """Images a second at each batch, one after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_cpus()  # by itself it takes what the machine has, not the container
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    rng = np.random.default_rng(0)
    return [
        {"batch": batch}
        | _one(session, source.name, rng.integers(0, 256, (batch, *source.shape[1:]), np.uint8), seconds)
        for batch in batches
    ]


def best(found: Sequence[Figures]) -> Figures:
    """The batch with the most images a second."""
    return max(found, key=lambda one: one["per_s"])


def _one(session: ort.InferenceSession, name: str, pixels: NDArray[np.uint8], seconds: float) -> Figures:
    for _ in range(WARM):
        session.run(None, {name: pixels})
    cpu, began, n_images = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() < began + seconds or not n_images:
        session.run(None, {name: pixels})
        n_images += len(pixels)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"per_s": n_images / wall, "cpu": cpu / wall}


if __name__ == "__main__":
    answer(measure)
