"""Searches rows by vectors in usearch's HNSW index of 8-bit numbers, in its own environment.

    python usearch_words.py ROWS.npy QUERIES.npy ASKED.json REPORT.json

`ASKED` has `k`, `seconds` and `clients`. The report has the numbers of the rows that each query finds, its
processor milliseconds, and searches a second by so many clients. One thread a search. Knows nothing of this
repository: it is run by path.
"""

import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index


def main(rows_file: str, queries_file: str, asked_file: str, report: str) -> None:
    rows, queries = np.load(rows_file), np.load(queries_file)
    asked = json.loads(Path(asked_file).read_text(encoding="utf-8"))
    index = Index(ndim=rows.shape[1], metric="ip", dtype="i8")
    began = time.process_time()
    index.add(np.arange(len(rows)), rows)
    said: dict[str, Any] = {"build_s": time.process_time() - began, "memory_gb": index.memory_usage / 1e9}
    found, ms = [], []
    for query in queries:
        began = time.process_time()
        found.append([int(key) for key in index.search(query, asked["k"], threads=1).keys])
        ms.append(1000 * (time.process_time() - began))
    said |= {"found": found, "ms": ms}
    said["per_s"] = {n: rate(index, queries, n, asked) for n in asked["clients"]}
    Path(report).write_text(json.dumps(said), encoding="utf-8")


def rate(index: Any, queries: Any, n_clients: int, asked: dict[str, Any]) -> float:
    """Searches a second by so many clients at once."""
    turns = itertools.cycle(range(len(queries)))
    end = time.perf_counter() + asked["seconds"]

    def client(_: int) -> int:
        n_done = 0
        while time.perf_counter() < end:
            index.search(queries[next(turns)], asked["k"], threads=1)
            n_done += 1
        return n_done

    with ThreadPoolExecutor(n_clients) as threads:
        return sum(threads.map(client, range(n_clients))) / float(asked["seconds"])


if __name__ == "__main__":
    main(*sys.argv[1:])
