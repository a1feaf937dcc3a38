"""Time matrix products by two libraries and one bare session, in turns in one process; a worker."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from benchmarks.serving.measures import median
from benchmarks.serving.workers import answer

WARM = 2
PAUSE_S = 0.02  # lets the threads of the other library fall asleep
SLICE_S = 0.1
CPU = ["CPUExecutionProvider"]
Run = Callable[[], object]


def measure(graph: str, batch: int, rows: int, shapes: list[list[int]], seconds: float) -> dict[str, Any]:
    """Median seconds of one call of the session and of each (M = rows, K) x (K, N), for each library."""
    runs: dict[str, Run] = {"session": _session(graph, batch)}
    for k, n in shapes:
        runs |= _products(rows, k, n)
    cpu, wall = time.process_time(), time.perf_counter()
    taken = _in_turns(list(runs.values()), seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"taken": dict(zip(runs, taken, strict=True)), "cpu": cpu / wall}


def _in_turns(runs: Sequence[Run], seconds: float) -> list[float]:
    taken: list[list[float]] = [[] for _ in runs]
    for run in runs:
        for _ in range(WARM):
            run()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not taken[0]:
        for run, times in zip(runs, taken, strict=True):
            time.sleep(PAUSE_S)
            run()  # wakes the threads
            times.extend(_slice(run))
    return [median(times) for times in taken]


def _slice(run: Run) -> list[float]:
    times, until = list[float](), time.perf_counter() + SLICE_S
    while time.perf_counter() < until:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return times


def _products(m: int, k: int, n: int) -> dict[str, Run]:
    """One product by each library, with constant weights as in a model."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    a, b, out = torch.from_numpy(left), torch.from_numpy(right), torch.empty(m, n)
    session = _product_session(right)
    return {
        f"torch {k}x{n}": lambda: torch.mm(a, b, out=out),
        f"onnxruntime {k}x{n}": lambda: session.run(None, {"left": left}),
    }


def _product_session(right: NDArray[np.float32]) -> ort.InferenceSession:
    k, n = right.shape
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["left", "right"], ["product"])],
        "product",
        [value("left", onnx.TensorProto.FLOAT, ["M", k])],
        [value("product", onnx.TensorProto.FLOAT, ["M", n])],
        [onnx.numpy_helper.from_array(right, "right")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=CPU)


def _session(graph: str, batch: int) -> Run:
    """The bundle's image graph with nothing around it."""
    session = ort.InferenceSession(graph, providers=CPU)
    source = session.get_inputs()[0]
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *source.shape[1:]), np.uint8)
    return lambda: session.run(None, {source.name: pixels})


if __name__ == "__main__":
    answer(measure)
