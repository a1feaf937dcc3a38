"""Time matrix products by two libraries and one bare session, in turns in one process; a worker."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """Median seconds of the batch in one session and in lanes, and of each shape's products in each way.

    A shape is (K, N, how many matrices of it the model has): the products of one call go through them all,
    since a model finds no matrix in the cache that it has multiplied by one image ago.
    """
    runs: dict[str, Run] = {"session": _session(graph, batch)}
    n_lanes = len(os.sched_getaffinity(0))
    if batch >= n_lanes:
        runs["lanes"] = _lanes(graph, batch, n_lanes)
    for k, n, count in shapes:
        runs |= _products(rows, k, n, count, n_lanes)
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


def _products(m: int, k: int, n: int, count: int, n_lanes: int) -> dict[str, Run]:
    """The products of (m, k) with `count` constant matrices (k, n), in each way; nothing is allocated."""
    torch.set_num_threads(n_lanes)
    rng = np.random.default_rng(0)
    left = rng.standard_normal((m, k), np.float32)
    matrices = [rng.standard_normal((k, n), np.float32) for _ in range(count)]
    a, out = torch.from_numpy(left), torch.empty(m, n)
    tensors = [torch.from_numpy(matrix) for matrix in matrices]

    def by_torch() -> None:
        for tensor in tensors:
            torch.mm(a, tensor, out=out)

    one, each = _product_session(matrices, n_lanes), _product_session(matrices, 1)
    parts = [_bound(each, part) for part in np.array_split(left, n_lanes)]
    pool = ThreadPoolExecutor(n_lanes)
    return {
        f"torch {k}x{n}": by_torch,
        f"onnxruntime {k}x{n}": _bound(one, left),
        f"onnxruntime in lanes {k}x{n}": lambda: list(pool.map(lambda run: run(), parts)),
    }


def _bound(session: ort.InferenceSession, left: NDArray[np.float32]) -> Run:
    """All products of these rows, into one matrix that is there already."""
    binding = session.io_binding()
    binding.bind_ortvalue_input("left", ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(left)))
    n = session.get_outputs()[0].shape[1]
    target = ort.OrtValue.ortvalue_from_numpy(np.empty((len(left), n), np.float32))
    for port in session.get_outputs():
        binding.bind_ortvalue_output(port.name, target)
    return lambda: session.run_with_iobinding(binding)


def _product_session(matrices: Sequence[NDArray[np.float32]], n_threads: int) -> ort.InferenceSession:
    k, n = matrices[0].shape
    value = onnx.helper.make_tensor_value_info
    indices = range(len(matrices))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["left", f"right{i}"], [f"product{i}"]) for i in indices],
        "products",
        [value("left", onnx.TensorProto.FLOAT, ["M", k])],
        [value(f"product{i}", onnx.TensorProto.FLOAT, ["M", n]) for i in indices],
        [onnx.numpy_helper.from_array(matrix, f"right{i}") for i, matrix in enumerate(matrices)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    return ort.InferenceSession(model.SerializeToString(), options, providers=CPU)


def _session(graph: str, batch: int) -> Run:
    """The bundle's image graph with nothing around it."""
    session = ort.InferenceSession(graph, providers=CPU)
    source, pixels = session.get_inputs()[0].name, _pixels(session, batch)
    return lambda: session.run(None, {source: pixels})


def _lanes(graph: str, batch: int, n_lanes: int) -> Run:
    """The same with the batch shared out between threads, each of which runs its part by itself."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=CPU)
    source, pixels = session.get_inputs()[0].name, _pixels(session, batch)
    parts, pool = np.array_split(pixels, n_lanes), ThreadPoolExecutor(n_lanes)
    return lambda: list(pool.map(lambda part: session.run(None, {source: part}), parts))


def _pixels(session: ort.InferenceSession, batch: int) -> NDArray[np.uint8]:
    shape = (batch, *session.get_inputs()[0].shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


if __name__ == "__main__":
    answer(measure)
