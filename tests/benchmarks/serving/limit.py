"""The machine's limit: float32 matrix products at the image tower's shapes, and the bare session beside it.

The limit is the better of torch's and onnxruntime's product for each shape, weighted by what the tower needs.
"""

from pathlib import Path
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import MAIN, SHAPES, Gflop, bundle, image_graph, is_pool_first
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import ask

BATCHES = (1, 8, 16, 32)
LIBRARIES = ("torch", "onnxruntime")
TOKENS = 50  # 7 x 7 patches and the class token


def measure_limit(bench: Bench, number: int) -> None:
    """All batches in round `number`."""
    folder = bundle(MAIN)
    for batch in BATCHES:
        bench.measure(
            lambda batch=batch: _one_batch(folder, batch, bench.seconds),
            part="limit",
            round=number,
            batch=batch,
        )


def _one_batch(folder: Path, batch: int, seconds: float) -> Figures:
    gflop = SHAPES[MAIN].gflop_per_image()
    asked = {"graph": str(image_graph(folder, "fp32")), "batch": batch, "rows": batch * TOKENS}
    found = ask("products", **asked, shapes=list(gflop), seconds=seconds)
    speeds = {
        shape: _gflop(batch * TOKENS, *shape) / min(_taken(found, library, shape) for library in LIBRARIES)
        for shape in gflop
    }
    limit, session = _per_s(gflop, speeds), batch / found["taken"].pop("session")
    as_arranged = SHAPES[MAIN].gflop_per_image(pool_first=is_pool_first(folder))
    return {
        "gflops": sum(gflop.values()) * limit,
        "limit_per_s": limit,
        "limit_of_graph_per_s": _per_s(as_arranged, speeds),
        "session_per_s": session,
        "ratio": session / limit,
        "ratio_of_graph": session / _per_s(as_arranged, speeds),
        "cpu": found["cpu"],
        "ms": {name: 1000 * seconds for name, seconds in found["taken"].items()},
    }


def _taken(found: dict[str, Any], library: str, shape: tuple[int, int]) -> float:
    return float(found["taken"][f"{library} {shape[0]}x{shape[1]}"])


def _gflop(m: int, k: int, n: int) -> float:
    return 2 * m * k * n / 1e9


def _per_s(gflop: Gflop, gflop_per_s: Gflop) -> float:
    return 1 / sum(amount / gflop_per_s[shape] for shape, amount in gflop.items())
