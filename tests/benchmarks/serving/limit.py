"""The machine's limit: float32 matrix products at the image tower's shapes, and the bare session beside it.

The limit is the best product for each shape, by torch or onnxruntime, with all threads on it or its rows
shared out to lanes, weighted by what the tower needs, with as many matrices of a shape as the tower has. The
products within the attentions count like all others, with operands that stay in the cache. The session runs a
batch by itself, and in lanes as the server does.

What the tower needs is the textbook's: every token through every product. An imported graph computes less in
its last block, which is told beside it with the limit of just its own products. Those of the one token there
count at the speed of all rows, which they do not reach: that limit is a little too high.
"""

from pathlib import Path
from typing import Any

from benchmarks.serving.bench import Bench
from benchmarks.serving.model import (
    MAIN,
    SHAPES,
    TOKENS,
    Gflop,
    Product,
    bundle,
    image_graph,
    is_arranged,
    is_with_weights,
)
from benchmarks.serving.store import Figures
from benchmarks.serving.ways import LANES, ONE_SESSION, SESSIONS
from benchmarks.serving.workers import ask

BATCHES = (1, 8, 16, 32)
WAYS = {"session": ONE_SESSION, "lanes": LANES}


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
    tower = SHAPES[MAIN]
    asked = {"graph": str(image_graph(folder, "fp32")), "batch": batch, "rows": batch * TOKENS}
    counts = tower.n_products()
    shapes = [[*product, count] for product, count in counts.items() if is_with_weights(product)]
    attention = [list(product) for product in counts if not is_with_weights(product)]
    within = {"attention": attention, "heads": tower.heads, "blocks": tower.depth}
    found = ask("products", **asked, shapes=shapes, **within, seconds=seconds)
    as_arranged = tower.gflop_per_image(as_arranged=is_arranged(folder))
    return compared(found, batch, tower.gflop_per_image(), counts, as_arranged)


def compared(
    found: dict[str, Any], batch: int, gflop: Gflop, counts: dict[Product, int], as_arranged: Gflop
) -> Figures:
    """The session beside the limit, from what `products.measure` found.

    `gflop` of an image by product in the textbook's tower, `as_arranged` in the graph; `counts` of products.
    """
    seconds: dict[str, float] = found["seconds"]
    speeds = {
        product: counts[product] * _gflop(batch, product) / seconds["x".join(map(str, product))]
        for product in gflop
    }
    limit, limit_of_graph = _per_s(gflop, speeds), _per_s(as_arranged, speeds)
    limit_of_weights = _per_s(
        {product: n for product, n in gflop.items() if is_with_weights(product)}, speeds
    )
    rates = {way: batch / seconds[group] for way, group in WAYS.items() if group in seconds}
    best = batch / seconds[SESSIONS]
    return {
        "gflops": sum(gflop.values()) * limit,
        "limit_per_s": limit,
        "limit_of_graph_per_s": limit_of_graph,
        **{f"{way}_per_s": rate for way, rate in rates.items()},
        **{f"{way}_ratio": rate / limit for way, rate in rates.items()},
        "ratio": best / limit,
        "ratio_of_graph": best / limit_of_graph,
        "ratio_of_weights": best / limit_of_weights,
        "saved_by_graph": 1 - sum(as_arranged.values()) / sum(gflop.values()),
        "cpu": found["cpu"],
        "passes": found["passes"],
        "ways": found["ways"],
        "ms": {group: 1000 * taken for group, taken in seconds.items()},
    }


def _gflop(batch: int, product: Product) -> float:
    """Of one in each image of a batch."""
    m, k, n = (TOKENS, *product) if is_with_weights(product) else product
    return 2 * batch * m * k * n / 1e9


def _per_s(gflop: Gflop, gflop_per_s: Gflop) -> float:
    return 1 / sum(amount / gflop_per_s[shape] for shape, amount in gflop.items())
