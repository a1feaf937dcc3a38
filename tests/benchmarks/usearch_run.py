"""Searches rows with usearch, in its own environment: exactly, and by an HNSW index with its defaults.

    python usearch_run.py ROWS.npy ASKED.json REPORT.json

`ASKED` has `queries`, each the number of a row, which its hits leave out; `k` and the true `hits` of the
first queries; `seconds` and `clients`; and whether to build the index (`hnsw`). One thread a search. Knows
nothing of this repository: it is run by path.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index, MetricKind, search

Find = Callable[[int], Any]  # a row -> the numbers of its nearest rows, itself included


def main(rows_file: str, asked_file: str, report: str) -> None:
    rows = np.load(rows_file)
    asked = json.loads(Path(asked_file).read_text(encoding="utf-8"))
    n_hits = asked["k"] + 1

    def exact(row: int) -> Any:
        return search(rows, rows[row], n_hits, MetricKind.IP, exact=True, threads=1).keys

    said = {"exact": measured(exact, asked)}
    if asked["hnsw"]:
        index = Index(ndim=rows.shape[1], metric="ip", dtype="f32")
        began = time.perf_counter()
        index.add(np.arange(len(rows)), rows)  # on all processors
        build = {"build_s": time.perf_counter() - began, "memory_mb": index.memory_usage / 1e6}
        found = measured(lambda row: index.search(rows[row], n_hits, threads=1).keys, asked)
        said["hnsw"] = {**found, **build}
    Path(report).write_text(json.dumps(said), encoding="utf-8")


def measured(find: Find, asked: dict[str, Any]) -> dict[str, Any]:
    """The speed with so many clients, and the share of the true hits that are found."""

    def hits(row: int) -> list[int]:
        return [int(found) for found in find(row) if found != row][: asked["k"]]

    shares = [
        len({*hits(row)} & {*true}) / len(true)
        for row, true in zip(asked["queries"], asked["hits"], strict=False)
    ]
    speeds = {n: speed(hits, asked["queries"], n, asked["seconds"]) for n in asked["clients"]}
    return {"speeds": speeds, "recall": sum(shares) / len(shares)}


def speed(find: Find, queries: list[int], n_clients: int, seconds: float) -> dict[str, float]:
    """Let so many threads search for so long."""
    rows: Iterator[int] = itertools.cycle(queries)
    end = time.perf_counter() + seconds

    def client(_: int) -> list[float]:
        spent = []
        while (began := time.perf_counter()) < end:
            find(next(rows))
            spent.append(1000 * (time.perf_counter() - began))
        return spent

    with ThreadPoolExecutor(n_clients) as threads:
        ms = sorted(itertools.chain(*threads.map(client, range(n_clients))))
    return {"p50_ms": ms[len(ms) // 2], "p99_ms": ms[len(ms) * 99 // 100], "per_s": len(ms) / seconds}


if __name__ == "__main__":
    main(*sys.argv[1:])
