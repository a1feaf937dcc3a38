"""Run graphs on this machine's processor and compare their speed; knows nothing of what is in them."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Batch = NDArray[np.uint8] | NDArray[np.int32]

MIN_SECONDS, MAX_SECONDS = 0.3, 10.0  # for one comparison
MIN_ROUNDS = 12
DOUBTED = 3  # a graph that seems slower is compared that many times as long: chance has dropped good ones


@dataclass(frozen=True)
class Speeds:
    """Batch items in a second of one thread's processor time, and the ratio of after to before."""

    per_s_before: float
    per_s_after: float
    ratio: float


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


def compare_speed(before: Graph, after: Graph, batch: Batch, least: float = 0.0) -> Speeds:
    """Run two graphs in turns A, B, B, A, ...: medians, and the median ratio of runs that were neighbours.

    A shared machine may change its speed by a quarter for seconds at a time. Neighbours have the same speed
    mostly; the best run of each tells which graph was lucky. A ratio below `least` is looked at for longer.
    Processor time and not the clock, because a machine that exports has other things to do: there, the clock
    differed by a quarter between two runs of one graph.
    """
    before.run(batch)  # the first run allocates
    after.run(batch)
    seconds: list[tuple[float, float]] = []
    started, n_times = time.perf_counter(), 1
    while True:
        first, second = (before, after) if len(seconds) % 2 == 0 else (after, before)
        times = _seconds(first, batch), _seconds(second, batch)
        seconds.append(times if first is before else times[::-1])
        spent_before, spent_after = np.array(seconds).T
        ratio = float(np.median(spent_before / spent_after))
        if not _enough(len(seconds), time.perf_counter() - started, n_times):
            continue
        if ratio >= least or n_times == DOUBTED:
            n = len(batch)
            return Speeds(n / float(np.median(spent_before)), n / float(np.median(spent_after)), ratio)
        n_times = DOUBTED  # and to its end: who asks at each run whether it is enough finds a lucky one


def _seconds(graph: Graph, batch: Batch) -> float:
    began = time.thread_time()
    graph.run(batch)
    return time.thread_time() - began


def _enough(n_rounds: int, spent_s: float, n_times: int) -> bool:
    return spent_s >= MAX_SECONDS * n_times or (
        spent_s >= MIN_SECONDS * n_times and n_rounds >= MIN_ROUNDS * n_times
    )
