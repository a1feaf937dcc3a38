"""Exact nearest neighbours by inner product, in FAISS; knows nothing of images or collections."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from diptych.core.types import Embedding, Embeddings, Keys

Params = faiss.SearchParameters | None

BLOCK_BYTES = 64 << 20  # of vectors in one block


def index_thread() -> ThreadPoolExecutor:
    """One thread for all indexes of a server; it ends with the last index that uses it.

    It uses one OpenMP thread: with two beside a busy core a search takes many times longer.
    """
    return ThreadPoolExecutor(
        max_workers=1, thread_name_prefix="index", initializer=faiss.omp_set_num_threads, initargs=(1,)
    )


class FaissFlatIndex:
    """Satisfies `diptych.core.ports.VectorIndex`.

    All calls go through `thread`, in their order: FAISS crashes when an index is changed while it is
    searched, and this queue is fair to both where a lock would starve one.

    The rows lie in blocks. One array of a million vectors of 256 numbers is copied as a whole whenever it
    must grow, and closes up its gaps as a whole after each removal: both took tenths of a second.
    """

    recall = 1.0  # every row is compared

    def __init__(self, embed_dim: int, thread: ThreadPoolExecutor, block_bytes: int = BLOCK_BYTES) -> None:
        self._embed_dim = embed_dim
        self._block_rows = max(1, block_bytes // (4 * embed_dim))
        self._blocks: list[_Block] = []
        self._thread = thread

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, removed, keys, rows)

    async def search(self, query: Embedding, k: int, allowed: Keys | None) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` when given.

        The first m of k are the same for every k >= m, so that pages of one search never overlap.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._search, query, k, allowed)

    async def close(self) -> None:
        """Wait for the calls made so far and give the memory back. The thread goes on serving others."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._blocks.clear)

    def _apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        if removed:
            gone = np.array(removed, dtype=np.int64)
            for block in self._blocks:
                block.remove(gone)
            self._blocks[:] = [block for block in self._blocks if block.n_rows]
        start, added = 0, np.array(keys, dtype=np.int64)
        while start < len(added):
            block = self._block_with_room()
            end = start + self._block_rows - block.n_rows
            block.add(added[start:end], np.ascontiguousarray(rows[start:end], np.float32))
            start = end

    def _block_with_room(self) -> "_Block":
        for block in self._blocks:
            if block.n_rows < self._block_rows:
                return block
        # The first one grows as it is filled, as most collections are small; after it all are made whole.
        self._blocks.append(_Block(self._embed_dim, self._block_rows if self._blocks else 0))
        return self._blocks[-1]

    def _search(self, query: Embedding, k: int, allowed: Keys | None) -> tuple[Keys, Embedding]:
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        params = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        if not self._blocks or k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        # One more than k shows whether the last place is tied.
        keys, cosines = _ranked([block.nearest(row, k + 1, params) for block in self._blocks])
        if len(keys) > k and cosines[k] == cosines[k - 1]:
            below = float(np.nextafter(cosines[k], np.float32(-np.inf)))
            keys, cosines = _ranked([block.above(row, below, params) for block in self._blocks])
        return keys[:k], cosines[:k]


class _Block:
    """Some of the rows."""

    def __init__(self, embed_dim: int, n_reserved: int) -> None:
        vectors = faiss.IndexFlatIP(embed_dim)
        vectors.codes.resize(n_reserved * vectors.code_size)  # its memory stays when it is emptied again,
        vectors.codes.resize(0)  # and nothing is copied as it fills, nor more taken than it needs
        self._index = faiss.IndexIDMap2(vectors)
        self._lowest, self._highest = np.iinfo(np.int64).max, -1  # of all keys that were ever in it

    @property
    def n_rows(self) -> int:
        return int(self._index.ntotal)

    def add(self, keys: Keys, rows: Embeddings) -> None:
        self._index.add_with_ids(rows, keys)
        self._lowest = min(self._lowest, int(keys.min()))
        self._highest = max(self._highest, int(keys.max()))

    def remove(self, keys: Keys) -> None:
        """Those of them that are here; most changes leave most blocks alone."""
        here = keys[(keys >= self._lowest) & (keys <= self._highest)]
        if len(here):
            self._index.remove_ids(faiss.IDSelectorBatch(here))

    def nearest(
        self, row: Embeddings, k: int, params: faiss.SearchParameters | None
    ) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines)."""
        cosines, keys = (found[0] for found in self._index.search(row, min(k, self.n_rows), params=params))
        return keys[keys >= 0], cosines[keys >= 0]  # places that nothing filled have key -1

    def above(
        self, row: Embeddings, below: float, params: faiss.SearchParameters | None
    ) -> tuple[Keys, Embedding]:
        """All (keys, cosines) with a cosine above `below`."""
        _, cosines, keys = self._index.range_search(row, below, params=params)
        return keys, cosines


def _ranked(found: Sequence[tuple[Keys, Embedding]]) -> tuple[Keys, Embedding]:
    """All of them in one ranking: best first, equal cosines by ascending key."""
    keys, cosines = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((keys, -cosines))
    return keys[order], cosines[order]
