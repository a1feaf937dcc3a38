"""The machine's limit: float32 matrix products at the image tower's shapes, and the bare session beside it.

The limit is the best product for each shape, by torch or onnxruntime, with all threads on it or its rows
shared out to lanes, weighted by what the tower needs, with as many matrices of a shape as the tower has. The
session runs a batch by itself, and in lanes as the server does.

What the tower needs is the textbook's: every token through every product. An imported graph computes less in
its last block, which is told beside it with the limit of just its own products. Those of the one token there
count at the speed of all rows, which they do not reach: that limit is a little too high.
"""

from pathlib import Path
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import MAIN, SHAPES, Gflop, bundle, image_graph, is_arranged
from benchmarks.serving.store import Figures
from benchmarks.serving.workers import ask

BATCHES = (1, 8, 16, 32)
WAYS = ("session", "lanes")
SESSION = "session, lanes: "  # and of how many: a way of `products`
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
    as_arranged = SHAPES[MAIN].gflop_per_image(as_arranged=is_arranged(folder))
    return compared(found, batch, gflop, counts, as_arranged)


def compared(
    found: dict[str, Any], batch: int, gflop: Gflop, counts: dict[tuple[int, int], int], as_arranged: Gflop
) -> Figures:
    """The session beside the limit, from what `products.measure` found.

    `gflop` of an image by shape in the textbook's tower, `as_arranged` in the graph; `counts` of matrices.
    """
    taken: dict[str, float] = found["taken"]
    speeds = {
        shape: counts[shape] * _gflop(batch * TOKENS, *shape) / _fastest(taken, shape) for shape in gflop
    }
    limit, limit_of_graph = _per_s(gflop, speeds), _per_s(as_arranged, speeds)
    rates = _rates(taken, batch)
    return {
        "gflops": sum(gflop.values()) * limit,
        "limit_per_s": limit,
        "limit_of_graph_per_s": limit_of_graph,
        **{f"{way}_per_s": rate for way, rate in rates.items()},
        **{f"{way}_ratio": rate / limit for way, rate in rates.items()},
        "ratio": max(rates.values()) / limit,
        "ratio_of_graph": max(rates.values()) / limit_of_graph,
        "saved_by_graph": 1 - sum(as_arranged.values()) / sum(gflop.values()),
        "cpu": found["cpu"],
        "passes": found["passes"],
        "ms": {name: 1000 * seconds for name, seconds in (taken | found["left_out"]).items()},
    }


def _rates(taken: dict[str, float], batch: int) -> dict[str, float]:
    """Images a second of one session, and of the best number of lanes where it can share a batch out."""
    seconds = {name: value for name, value in taken.items() if name.startswith(SESSION)}
    alone = seconds.pop(f"{SESSION}1")
    rates = {"session": batch / alone}
    return rates | ({"lanes": batch / min(seconds.values())} if seconds else {})


def _fastest(taken: dict[str, float], shape: tuple[int, int]) -> float:
    """Seconds of all products of a shape, in the best way."""
    return min(value for name, value in taken.items() if name.startswith(f"{shape[0]}x{shape[1]} by "))


def _gflop(m: int, k: int, n: int) -> float:
    return 2 * m * k * n / 1e9


def _per_s(gflop: Gflop, gflop_per_s: Gflop) -> float:
    return 1 / sum(amount / gflop_per_s[shape] for shape, amount in gflop.items())
