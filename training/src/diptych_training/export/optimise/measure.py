"""Run graphs on this machine's processor and compare their speed; knows nothing of what is in them."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Batch = NDArray[np.uint8] | NDArray[np.int32]

MIN_SECONDS, MAX_SECONDS = 0.3, 10.0  # for one comparison
MIN_ROUNDS = 12


class Graph:
    """One graph with one input and one output, run by one thread with onnxruntime's own optimisations on."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # all the work is done, and counted, in the thread that asks
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self._source,) = (port.name for port in self._session.get_inputs())

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """(B, ...) -> (B, D)."""
        (rows,) = self._session.run(None, {self._source: batch})
        return np.asarray(rows, np.float32)


def compare_speed(graphs: Sequence[Graph], batch: Batch) -> list[float]:
    """Batch items in a second of processor time of each graph: its best of turns A, B, B, A, A, B, ...

    Processor time and not the clock, because a machine that exports has other things to do: there, the clock
    differed by a quarter between two runs of one graph.
    """
    seconds: list[list[float]] = [[] for _ in graphs]
    for graph in graphs:
        graph.run(batch)  # the first run allocates
    order = list(range(len(graphs)))
    started = time.perf_counter()
    while not _enough(len(seconds[0]), time.perf_counter() - started):
        for index in order:
            before = time.thread_time()
            graphs[index].run(batch)
            seconds[index].append(time.thread_time() - before)
        order.reverse()
    return [len(batch) / min(spent) for spent in seconds]


def _enough(n_rounds: int, spent_s: float) -> bool:
    return n_rounds > 0 and (spent_s >= MAX_SECONDS or (spent_s >= MIN_SECONDS and n_rounds >= MIN_ROUNDS))
