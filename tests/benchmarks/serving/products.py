"""Time matrix products by two libraries and one bare session, in turns in one process; a worker."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from benchmarks.serving.sharing import lane_options, n_cpus
from benchmarks.serving.ways import LANES, ONE_SESSION, SESSIONS
from benchmarks.serving.workers import answer

MOST = 100  # times that a short one is repeated
SHORT_S = 0.1  # a run below it is woken by one that does not count, and repeated for so long
PAUSE_S = 0.02  # lets the threads of the other library fall asleep
CHOOSING, MIN_PASSES = 6, 30  # passes, however long each takes
PART = 8  # images: what the server's plans mostly come to
CPU = ["CPUExecutionProvider"]
NO_SPINNING = ("session.force_spinning_stop", "1")  # of threads when all is done, into the next one's time
Run = Callable[[], object]
Floats = NDArray[np.float32]


@dataclass
class Times:
    """Seconds of a run in each pass, and what all runs took of the processor.

    A machine that is shared runs at two speeds, here a quarter apart and for a second or some at a time. Of
    few runs the median is one or the other, and the least is that of the shortest, which are run most. The
    mean over many passes, in each of which all take their turn, is of the same mix of speeds for all.
    """

    taken: dict[str, list[float]]
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def mean(self, name: str) -> float:
        """Seconds of one of them."""
        return sum(self.taken[name]) / len(self.taken[name])


def measure(
    *,
    graph: str,
    batch: int,
    rows: int,
    shapes: list[list[int]],
    attention: list[list[int]],
    heads: int,
    blocks: int,
    seconds: float,
) -> dict[str, Any]:
    """Mean seconds of the batch in a session, and of each shape's products, in the fastest way of each.

    A shape is (K, N, how many matrices of it the model has): the products of one call go through them all,
    since a model finds no matrix in the cache that it has multiplied by one image ago. One of `attention` is
    (M, K, N), for each head of each block; its operands stay the same, as a model has just computed its own.
    """
    n_threads = n_cpus()
    torch.set_num_threads(n_threads)
    torch.get_num_threads()  # settles it for this thread, whatever lanes set for theirs later
    pools = {lanes: _pool(lanes, n_threads // lanes) for lanes in lane_options(n_threads)}
    sessions = {
        lanes: _session(graph, batch, lanes, n_threads // lanes, pool) for lanes, pool in pools.items()
    }
    products = {
        **{f"{k}x{n}": _products(rows, k, n, count, n_threads, pools) for k, n, count in shapes},
        **{
            f"{m}x{k}x{n}": _within(batch * heads, (m, k, n), blocks, n_threads, pools)
            for m, k, n in attention
        },
    }
    fastest, times = fastest_in_turns(_groups(sessions) | products, seconds)
    return {
        "seconds": {group: times.mean(way) for group, way in fastest.items()},
        "ways": fastest,
        "passes": min(map(len, times.taken.values())),
        "cpu": times.cpu_s / times.wall_s,
    }


def fastest_in_turns(groups: Mapping[str, Mapping[str, Run]], seconds: float) -> tuple[dict[str, str], Times]:
    """The way of each group that is fastest in some passes, and the times of those in passes of their own.

    Of several ways that are alike, the fastest is the one that the noise of its passes favoured: in others it
    is as fast as it is. To choose, the least of a few passes tells more than their mean: that is of the
    machine's slow seconds. Names tell ways apart, in whatever groups they are.
    """
    runs = {name: run for group in groups.values() for name, run in group.items()}
    trial = in_turns(runs, CHOOSING, 0.0).taken
    fastest = {group: min(ways, key=lambda way: min(trial[way])) for group, ways in groups.items()}
    return fastest, in_turns({name: runs[name] for name in fastest.values()}, MIN_PASSES, seconds)


def in_turns(runs: Mapping[str, Run], n_passes: int, seconds: float) -> Times:
    """All take turns, in so many passes and for so long at least."""
    # Settled here: were each pass to judge by its own first run, slow ones would count more often.
    repeats = {name: math.ceil(SHORT_S / max(_warm(run), SHORT_S / MOST)) for name, run in runs.items()}
    times = Times({name: [] for name in runs})
    until, n_done = time.perf_counter() + seconds, 0
    while n_done < n_passes or time.perf_counter() < until:
        _pass(runs, repeats, times)
        n_done += 1
    return times


def _groups(sessions: Mapping[int, Mapping[str, Run]]) -> dict[str, dict[str, Run]]:
    """One session, the lanes where a batch can be shared out, and all of them together."""
    lanes = {name: run for n, ways in sessions.items() if n > 1 for name, run in ways.items()}
    one = dict(sessions[1])
    return {SESSIONS: one | lanes, ONE_SESSION: one} | ({LANES: lanes} if lanes else {})


def _warm(run: Run) -> float:
    """A long run once, a short one for a moment: memory is taken, threads are there. Seconds at best."""
    until = time.perf_counter() + SHORT_S
    taken = [_timed(run)]
    while time.perf_counter() < until:
        taken.append(_timed(run))
    return min(taken)


def _pass(runs: Mapping[str, Run], repeats: Mapping[str, int], times: Times) -> None:
    """Each once where it is long, some times where it is short."""
    for name, run in runs.items():
        time.sleep(PAUSE_S)
        if repeats[name] > 1:  # else waking the threads is nothing beside it
            run()
        cpu, began = time.process_time(), time.perf_counter()
        for _ in range(repeats[name]):
            run()
        wall = time.perf_counter() - began
        times.cpu_s += time.process_time() - cpu
        times.wall_s += wall
        times.taken[name].append(wall / repeats[name])


def _timed(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _pool(lanes: int, threads: int) -> ThreadPoolExecutor:
    """One thread for each lane; in each of them torch takes so many."""
    return ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(threads,))


def _products(
    m: int, k: int, n: int, count: int, n_threads: int, pools: Mapping[int, ThreadPoolExecutor]
) -> dict[str, Run]:
    """The products of (m, k) with `count` constant matrices (k, n), in each way; nothing is allocated."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((m, k), np.float32)
    matrices = [rng.standard_normal((k, n), np.float32) for _ in range(count)]
    tensors, out = [torch.from_numpy(matrix) for matrix in matrices], torch.empty(m, n)
    runs: dict[str, Run] = {}
    for lanes, pool in pools.items():
        rows, targets = np.array_split(left, lanes), torch.tensor_split(out, lanes)
        runs[f"{k}x{n} by torch, lanes: {lanes}"] = _at_once(
            pool, [_by_torch(torch.from_numpy(a), tensors, b) for a, b in zip(rows, targets, strict=True)]
        )
        session = _product_session(matrices, n_threads // lanes)
        runs[f"{k}x{n} by onnxruntime, lanes: {lanes}"] = _at_once(pool, [_bound(session, a) for a in rows])
    return runs


def _within(
    n_heads: int,
    shape: tuple[int, int, int],
    blocks: int,
    n_threads: int,
    pools: Mapping[int, ThreadPoolExecutor],
) -> dict[str, Run]:
    """As many products of (M, K) with (K, N) at once, for each block, in each way; nothing is allocated."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n_heads, *sizes), np.float32) for sizes in ((m, k), (k, n)))
    out = np.empty((n_heads, m, n), np.float32)
    runs: dict[str, Run] = {}
    for lanes, pool in pools.items():
        parts = list(zip(*(np.array_split(one, lanes) for one in (left, right, out)), strict=True))
        session = _batched_session(n_threads // lanes)
        ways = {
            "torch": [_times(blocks, _batched_by_torch(*part)) for part in parts],
            "onnxruntime": [_times(blocks, _batched_by_session(session, *part)) for part in parts],
        }
        runs |= {f"{m}x{k}x{n} by {way}, lanes: {lanes}": _at_once(pool, run) for way, run in ways.items()}
    return runs


def _times(count: int, run: Run) -> Run:
    def repeated() -> None:
        for _ in range(count):
            run()

    return repeated


def _batched_by_torch(left: Floats, right: Floats, out: Floats) -> Run:
    a, b, target = (torch.from_numpy(one) for one in (left, right, out))
    return lambda: torch.bmm(a, b, out=target)


def _batched_by_session(session: ort.InferenceSession, left: Floats, right: Floats, out: Floats) -> Run:
    binding = session.io_binding()
    for name, value in (("left", left), ("right", right)):
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
    binding.bind_ortvalue_output("product", ort.OrtValue.ortvalue_from_numpy(out))
    return lambda: session.run_with_iobinding(binding)


def _at_once(pool: ThreadPoolExecutor, parts: Sequence[Run]) -> Run:
    """Each part in a lane of its own; a single one in this thread."""
    if len(parts) == 1:
        return parts[0]
    return lambda: list(pool.map(lambda part: part(), parts))


def _by_torch(rows: torch.Tensor, matrices: Sequence[torch.Tensor], out: torch.Tensor) -> Run:
    def run() -> None:
        for matrix in matrices:
            torch.mm(rows, matrix, out=out)

    return run


def _bound(session: ort.InferenceSession, left: Floats) -> Run:
    """All products of these rows, into one matrix that is there already."""
    binding = session.io_binding()
    binding.bind_ortvalue_input("left", ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(left)))
    n = session.get_outputs()[0].shape[1]
    target = ort.OrtValue.ortvalue_from_numpy(np.empty((len(left), n), np.float32))
    for port in session.get_outputs():
        binding.bind_ortvalue_output(port.name, target)
    return lambda: session.run_with_iobinding(binding)


def _product_session(matrices: Sequence[Floats], n_threads: int) -> ort.InferenceSession:
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
    return _opened(graph, n_threads)


def _opened(graph: onnx.GraphProto, n_threads: int) -> ort.InferenceSession:
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.add_session_config_entry(*NO_SPINNING)
    return ort.InferenceSession(model.SerializeToString(), options, providers=CPU)


def _batched_session(n_threads: int) -> ort.InferenceSession:
    shapes = {"left": ["H", "M", "K"], "right": ["H", "K", "N"], "product": ["H", "M", "N"]}
    left, right, product = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    node = onnx.helper.make_node("MatMul", [left.name, right.name], [product.name])
    return _opened(onnx.helper.make_graph([node], "batched", [left, right], [product]), n_threads)


def _session(graph: str, batch: int, lanes: int, threads: int, pool: ThreadPoolExecutor) -> dict[str, Run]:
    """The bundle's image graph with nothing around it, the batch shared out to lanes as the server does.

    Also in parts of PART images, which lanes take one after the other. A batch too small for them has no way.
    """
    if batch < lanes:
        return {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*NO_SPINNING)
    session = ort.InferenceSession(graph, options, providers=CPU)
    source, pixels = session.get_inputs()[0].name, _pixels(session, batch)

    def in_parts(n_parts: int) -> Run:
        parts = np.array_split(pixels, n_parts)
        return _at_once(pool, [lambda part=part: session.run(None, {source: part}) for part in parts])

    ways = {f"session, lanes: {lanes}": in_parts(lanes)}
    n_parts = batch // PART
    if n_parts > lanes > 1:
        ways[f"session, lanes: {lanes}, parts: {n_parts}"] = in_parts(n_parts)
    return ways


def _pixels(session: ort.InferenceSession, batch: int) -> NDArray[np.uint8]:
    shape = (batch, *session.get_inputs()[0].shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


if __name__ == "__main__":
    answer(measure)
