"""Exact nearest neighbours by inner product, in FAISS; knows nothing of images or collections."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from diptych.core.types import Embedding, Embeddings, Keys


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
    """

    recall = 1.0  # every row is compared

    def __init__(self, embed_dim: int, thread: ThreadPoolExecutor) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(embed_dim))
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
        await asyncio.get_running_loop().run_in_executor(self._thread, self._index.reset)

    def _apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        if removed:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(removed, dtype=np.int64)))
        if keys:
            self._index.add_with_ids(np.ascontiguousarray(rows, np.float32), np.array(keys, dtype=np.int64))

    def _search(self, query: Embedding, k: int, allowed: Keys | None) -> tuple[Keys, Embedding]:
        row = np.ascontiguousarray(query[np.newaxis], np.float32)  # (1, D)
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        params = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        wanted = min(k + 1, self._index.ntotal)  # one more shows whether the last place is tied
        if wanted == 0 or k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        cosines, keys = (found[0] for found in self._index.search(row, wanted, params=params))
        cosines, keys = cosines[keys >= 0], keys[keys >= 0]  # places that nothing filled have key -1
        if len(keys) > k and cosines[k] == cosines[k - 1]:
            below = float(np.nextafter(cosines[k], np.float32(-np.inf)))
            _, cosines, keys = self._index.range_search(row, below, params=params)
        order = np.lexsort((keys, -cosines))[:k]
        return keys[order], cosines[order]
