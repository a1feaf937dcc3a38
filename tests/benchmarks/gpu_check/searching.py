"""Search of random unit vectors: the index on the card, whole and in lists, beside that on the CPU."""

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
from diptych.adapters.faiss_gpu_lists import IvfPlan
from diptych.adapters.faiss_index import FaissFlatIndex, index_thread

TIER = "faiss"
EMBED_DIM, K = 512, 10
# Vectors lie in groups, in a few directions, as those of images do: in all directions alike no lists are
# worth a name.
N_FACTORS, ROWS_PER_GROUP, SPREAD = 24, 500, 0.5
BLOCK = 100_000  # rows that are made at a time
N_WARM = 10  # with the queries fewer than those after which lists are measured again
MIN_FOUND = 0.97  # in lists, of the few queries here: the bar of the index itself is of more of them

Rows = NDArray[np.float32]
Keys = NDArray[np.int64]
Answers = list[tuple[Keys, Rows]]
Index = FaissFlatIndex | FaissGpuIndex


def measure_searches(sizes: Sizes, *, on_card: bool) -> Iterator[Finding]:
    """One query at a time, from host to host."""
    for n_rows in sizes.rows:
        yield from asyncio.run(_compared(n_rows, sizes.n_queries, on_card))


async def _compared(n_rows: int, n_queries: int, on_card: bool) -> list[Finding]:
    """All over the same rows: the card must answer bit for bit what the CPU does; in lists, almost all."""
    thread, queries = index_thread(), _rows(n_queries, 1, n_rows)
    flat = FaissFlatIndex(EMBED_DIM, thread)
    await _fill(flat, n_rows)
    truth = [await flat.search(query, K, None) for query in queries]
    found = [await _timed(f"CPU, {n_rows:,} rows", flat, queries, truth)]
    await flat.close()
    for name, plan in (("card", None), ("card in lists", IvfPlan(min_rows=1))) if on_card else ():
        index = FaissGpuIndex(EMBED_DIM, thread, FaissGpu(), ivf=plan, min_rows=n_rows)
        began = time.perf_counter()
        await _fill(index, n_rows)
        while index.place.device == "cpu" and not index.is_settled:
            await index.search(queries[0], 0, None)  # the copy is made by the same thread, between them
        found.append(
            Finding(TIER, "made", f"{name}, {n_rows:,} rows", {"seconds": time.perf_counter() - began})
        )
        found.append(await _timed(f"{name}, {n_rows:,} rows", index, queries, truth))
        place = index.place
        if (place.device, place.search) != ("cuda", "exact" if plan is None else "ivf"):
            found.append(failed(TIER, f"{n_rows:,} rows, {name}", place.reason))
        await index.close()
    return found


async def _fill(index: Index, n_rows: int) -> None:
    for start in range(0, n_rows, BLOCK):
        rows = _rows(min(BLOCK, n_rows - start), start + 2, n_rows)
        await index.apply((), list(range(start, start + len(rows))), rows)


async def _timed(name: str, index: Index, queries: Rows, truth: Answers) -> Finding:
    for _ in range(N_WARM):
        await index.search(queries[0], K, None)
    spent, n_same, n_found, is_right = list[float](), 0, 0, True
    for query, (keys, cosines) in zip(queries, truth, strict=True):
        began = time.perf_counter()
        got_keys, got_cosines = await index.search(query, K, None)
        spent.append(1000 * (time.perf_counter() - began))
        n_same += bool(np.array_equal(keys, got_keys) and np.array_equal(cosines, got_cosines))
        _, here, there = np.intersect1d(keys, got_keys, return_indices=True)
        n_found += len(here)
        is_right &= np.array_equal(cosines[here], got_cosines[there])
    figures = {
        "p50_ms": median(spent),
        "p99_ms": percentile(spent, 0.99),
        "same": n_same / len(queries),
        "found": n_found / sum(len(keys) for keys, _ in truth),
        "recall": index.recall,
    }
    enough = figures["same"] == 1.0 if index.place.search == "exact" else figures["found"] >= MIN_FOUND
    note = f"{EMBED_DIM} numbers, {K} hits, one query at a time; {index.place.reason}"
    return Finding(TIER, "search", name, figures, is_right and enough, note)


def _rows(n: int, seed: int, n_in_all: int) -> Rows:
    """(N, D) of unit norm, of a collection of so many."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    directions = fixed.standard_normal((N_FACTORS, EMBED_DIM), dtype=np.float32)
    groups = fixed.standard_normal((max(10, n_in_all // ROWS_PER_GROUP), N_FACTORS), dtype=np.float32)
    factors = groups[random.integers(0, len(groups), n)]
    factors += SPREAD * random.standard_normal((n, N_FACTORS), dtype=np.float32)
    rows = factors @ directions
    unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
