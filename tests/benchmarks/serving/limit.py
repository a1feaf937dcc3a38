"""The machine's limit: float32 matrix products at the image tower's shapes, and the bare session beside it.

The limit is the best product for each shape, by torch or onnxruntime, with all threads on it or its rows
shared out to lanes, weighted by what the tower needs, with as many matrices of a shape as the tower has. The
session runs a batch by itself, and in lanes as the server does.
"""

from pathlib import Path
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import MAIN, SHAPES, Gflop, bundle, image_graph, is_arranged
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import ask

BATCHES = (1, 8, 16, 32)
PRODUCTS = ("torch", "onnxruntime", "onnxruntime in lanes")
WAYS = ("session", "lanes")
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
    gflop, counts = SHAPES[MAIN].gflop_per_image(), SHAPES[MAIN].n_matrices()
    asked = {"graph": str(image_graph(folder, "fp32")), "batch": batch, "rows": batch * TOKENS}
    found = ask("products", **asked, shapes=[[*shape, counts[shape]] for shape in gflop], seconds=seconds)
    speeds = {
        shape: counts[shape]
        * _gflop(batch * TOKENS, *shape)
        / min(_taken(found, how, shape) for how in PRODUCTS)
        for shape in gflop
    }
    limit = _per_s(gflop, speeds)
    rates = {way: batch / found["taken"].pop(way) for way in WAYS if way in found["taken"]}
    as_arranged = SHAPES[MAIN].gflop_per_image(as_arranged=is_arranged(folder))
    return {
        "gflops": sum(gflop.values()) * limit,
        "limit_per_s": limit,
        "limit_of_graph_per_s": _per_s(as_arranged, speeds),
        **{f"{way}_per_s": rate for way, rate in rates.items()},
        **{f"{way}_ratio": rate / limit for way, rate in rates.items()},
        "ratio": max(rates.values()) / limit,
        "ratio_of_graph": max(rates.values()) / _per_s(as_arranged, speeds),
        "cpu": found["cpu"],
        "ms": {name: 1000 * seconds for name, seconds in found["taken"].items()},
    }


def _taken(found: dict[str, Any], how: str, shape: tuple[int, int]) -> float:
    return float(found["taken"][f"{how} {shape[0]}x{shape[1]}"])


def _gflop(m: int, k: int, n: int) -> float:
    return 2 * m * k * n / 1e9


def _per_s(gflop: Gflop, gflop_per_s: Gflop) -> float:
    return 1 / sum(amount / gflop_per_s[shape] for shape, amount in gflop.items())
