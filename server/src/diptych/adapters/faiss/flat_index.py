"""Exact nearest neighbours by inner product, in FAISS on the CPU; knows nothing of images or collections."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
from threadpoolctl import threadpool_limits

from diptych.adapters.faiss.rows import BLOCK_BYTES, FlatRows
from diptych.core.types import Embedding, Embeddings, IndexPlace, Keys


def index_thread() -> ThreadPoolExecutor:
    """One thread for all indexes of a server; it ends with the last index that uses it.

    It uses one OpenMP thread: with two beside a busy core a search takes many times longer.
    """
    return ThreadPoolExecutor(
        max_workers=1, thread_name_prefix="index", initializer=faiss.omp_set_num_threads, initargs=(1,)
    )


class FaissFlatIndex:
    """Satisfies `diptych.core.collections.ports.VectorIndex`.

    All calls go through `thread`, in their order: FAISS crashes when an index is changed while it is
    searched, and this queue is fair to both where a lock would starve one.
    """

    recall = 1.0  # every row is compared

    def __init__(
        self, embed_dim: int, thread: ThreadPoolExecutor, block_bytes: int = BLOCK_BYTES, reason: str = ""
    ) -> None:
        """`reason`: why it is the CPU that searches."""
        self.place = IndexPlace("cpu", reason)
        self._rows = FlatRows(embed_dim, block_bytes)
        self._thread = thread

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._rows.change, removed, keys, rows)

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` when given.

        The first m of k are the same for every k >= m, so that pages of one search never overlap.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._rows.nearest, query, k, allowed)

    async def close(self) -> None:
        """Wait for the calls made so far and give the memory back. The thread goes on serving others."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._rows.clear)


def use_one_blas_thread() -> None:
    """From now on, for all libraries that are loaded.

    Their threads wait for work by spinning, on the cores that encode and decode: one image against a thousand
    labels took 1.8 ms of two processors, and takes 0.03 ms of one.
    """
    threadpool_limits(limits=1, user_api="blas")
