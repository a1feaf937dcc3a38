"""Rows with ready-made vectors in the store and its index, without HTTP: write, list, filter and open."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.measures import median
from diptych.adapters.faiss_index import FaissFlatIndex, index_thread
from diptych.adapters.sqlite_store import DATABASE, SqliteStore
from diptych.core.filter_parser import parse_filter
from diptych.core.types import NewRow

DIM = 256
BATCH = 1_000
PAGE = 100
REPEATS = 5
C, IDENTITY = "bench", "bench/1"
COLOURS = ("red", "green", "blue", "grey")
FILTERS: dict[str, dict[str, Any]] = {
    "equality": {"colour": "red"},
    "range": {"year": {"gte": 2000, "lt": 2010}},
    "set, of an array": {"tags": {"in": ["cat", "bird"]}},
    "and, or, not": {
        "or": [
            {"year": {"lt": 1995}},
            {"and": [{"colour": {"in": ["red", "blue"]}}, {"not": {"tags": "dog"}}]},
        ]
    },
}


@dataclass
class Found:
    """Of one number of rows."""

    n_rows: int
    put_rows_s: list[float] = field(default_factory=list)  # of every batch, rows a second
    database_bytes: int = 0
    open_s: float = 0.0
    fill_s: float = 0.0
    page_ms: float = 0.0
    filters: dict[str, tuple[float, int]] = field(default_factory=dict)  # seconds, rows that pass


def measure(folder: Path, n_rows: int) -> Found:
    """In a folder of its own, which is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return asyncio.run(_measure(folder, n_rows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(folder: Path, n_rows: int) -> Found:
    found = Found(n_rows)
    store, index = SqliteStore(folder), FaissFlatIndex(DIM, index_thread())
    await store.create_collection(C, "bench")
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, BATCH):
        rows = _rows(rng, start, n_rows)
        began = time.perf_counter()
        results = await store.put(C, rows, identity=IDENTITY, replace=False)
        await index.apply((), [result.key for result in results], np.stack([row.embedding for row in rows]))
        found.put_rows_s.append(BATCH / (time.perf_counter() - began))
    await index.close()
    await store.close()
    found.database_bytes = (folder / DATABASE).stat().st_size
    await _open(folder, found)
    return found


async def _open(folder: Path, found: Found) -> None:
    """As a start does, then what is asked for most."""
    began = time.perf_counter()
    store = SqliteStore(folder)
    found.open_s = time.perf_counter() - began
    index = FaissFlatIndex(DIM, index_thread())
    began = time.perf_counter()
    await store.missing(C, IDENTITY)
    async for keys, rows in store.embeddings(C, IDENTITY):
        await index.apply((), keys, rows)
    found.fill_s = time.perf_counter() - began
    middle = _id(found.n_rows // 2)
    found.page_ms = 1000 * (await _seconds(lambda: store.page(C, middle, PAGE)))[0]
    for name, clause in FILTERS.items():
        filter = parse_filter(clause)
        seconds, keys = await _seconds(lambda filter=filter: store.matching_keys(C, filter))  # type: ignore[misc]
        found.filters[name] = seconds, len(keys)
    await index.close()
    await store.close()


async def _seconds(call: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """The median of some, and what came out."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = await call()
        times.append(time.perf_counter() - began)
    return median(times), answer


def _rows(rng: np.random.Generator, start: int, n_rows: int) -> list[NewRow]:
    embeddings = rng.standard_normal((BATCH, DIM)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return [_row(start + offset, n_rows, embedding) for offset, embedding in enumerate(embeddings)]


def _row(n: int, n_rows: int, embedding: Any) -> NewRow:
    metadata = {
        "year": 1990 + n % 36,
        "colour": COLOURS[n % 4],
        "title": f"picture number {n} of the set",
        "tags": ["cat", "sofa"] if n % 5 == 0 else ["dog"],
        "price": n % 1000 / 7,
    }
    id = _id(n * 7919 % n_rows)  # not in the order of the ids
    return NewRow(id, f"{n:064x}", 30_000, "image/jpeg", 640, 480, metadata, embedding)


def _id(n: int) -> str:
    return f"image-{n:08}"
