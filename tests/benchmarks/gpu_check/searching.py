"""Exact search of random unit vectors: the server's index on the card beside that on the CPU."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_check.findings import Finding, failed
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.serving.measures import median, percentile
from diptych.adapters.faiss_gpu import FaissGpu
from diptych.adapters.faiss_gpu_index import FaissGpuIndex
from diptych.adapters.faiss_index import FaissFlatIndex, index_thread

TIER = "faiss"
EMBED_DIM, K = 512, 10
BLOCK = 100_000  # rows that are made at a time
N_WARM = 100  # at least as many as there are blocks to copy

Rows = NDArray[np.float32]
Keys = NDArray[np.int64]


def measure_searches(sizes: Sizes, *, on_card: bool) -> Iterator[Finding]:
    """One query at a time, from host to host."""
    for n_rows in sizes.rows:
        yield from asyncio.run(_compared(n_rows, sizes.n_queries, on_card))


async def _compared(n_rows: int, n_queries: int, on_card: bool) -> list[Finding]:
    """Both indexes over the same rows; that of the card must answer bit for bit what the other one does."""
    thread, queries = index_thread(), _unit_rows(n_queries, seed=1)
    flat = FaissFlatIndex(EMBED_DIM, thread)
    indexes: list[tuple[str, FaissFlatIndex | FaissGpuIndex]] = [("CPU", flat)]
    if on_card:
        indexes.append(("card", FaissGpuIndex(EMBED_DIM, thread, FaissGpu(), min_rows=1)))
    for start in range(0, n_rows, BLOCK):
        rows = _unit_rows(min(BLOCK, n_rows - start), seed=start + 2)
        for _, index in indexes:
            await index.apply((), list(range(start, start + len(rows))), rows)
    truth = [await flat.search(query, K, None) for query in queries]
    found = []
    for name, index in indexes:
        for _ in range(N_WARM):  # the copy is made by the same thread, between them
            await index.search(queries[0], K, None)
        found.append(await _timed(f"{name}, {n_rows:,} rows", index, queries, truth))
        if name == "card" and index.place.device != "cuda":
            found.append(failed(TIER, f"{n_rows:,} rows on the card", index.place.reason))
    return found


async def _timed(
    name: str, index: FaissFlatIndex | FaissGpuIndex, queries: Rows, truth: list[tuple[Keys, Rows]]
) -> Finding:
    spent, n_same = list[float](), 0
    for query, (keys, cosines) in zip(queries, truth, strict=True):
        began = time.perf_counter()
        got_keys, got_cosines = await index.search(query, K, None)
        spent.append(1000 * (time.perf_counter() - began))
        n_same += bool(np.array_equal(keys, got_keys) and np.array_equal(cosines, got_cosines))
    figures = {"p50_ms": median(spent), "p99_ms": percentile(spent, 0.99), "same": n_same / len(queries)}
    note = f"{EMBED_DIM} numbers, {K} hits, one query at a time"
    return Finding(TIER, "search", name, figures, n_same == len(queries), note)


def _unit_rows(n: int, seed: int) -> Rows:
    rows = np.random.default_rng(seed).standard_normal((n, EMBED_DIM), dtype=np.float32)
    unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
