"""Exact nearest neighbours by inner product, in FAISS on the CPU."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
from threadpoolctl import threadpool_limits

from diptych.adapters.faiss.rows import BLOCK_BYTES, FlatRows
from diptych.core.concurrency.serial_executor import SerialExecutor
from diptych.core.types import Embedding, Embeddings, IndexPlacement, Keys


def index_threads(n_threads: int) -> ThreadPoolExecutor:
    """Make the threads for all indexes of a server. They end with the last index that uses them.

    Each uses one OpenMP thread: with two threads and one busy core a search takes many times longer.
    """
    return ThreadPoolExecutor(
        max_workers=n_threads,
        thread_name_prefix="index",
        initializer=faiss.omp_set_num_threads,
        initargs=(1,),
    )


class FaissFlatIndex:
    """Satisfies `diptych.core.collections.ports.VectorIndex`.

    Its calls run in `threads` one after the other: FAISS crashes if an index is changed while it is searched,
    and a queue is fair to changes and searches, where a lock would starve one of them. Indexes with the same
    threads are searched side by side.
    """

    recall = 1.0  # every row is compared

    def __init__(
        self, embed_dim: int, threads: ThreadPoolExecutor, block_bytes: int = BLOCK_BYTES, reason: str = ""
    ) -> None:
        """`reason` says why the CPU searches, and not a GPU."""
        self.placement = IndexPlacement("cpu", reason)
        self._rows = FlatRows(embed_dim, block_bytes)
        self._calls = SerialExecutor(threads)

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`; no search sees half of the change."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._calls, self._rows.change, removed, keys, rows)

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """At most k (keys, cosines), best first, equal cosines by ascending key; among `allowed` if given.

        The first m hits are the same for every k >= m, so that pages of one search never overlap.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._calls, self._rows.nearest, query, k, allowed)

    async def close(self) -> None:
        """Wait for earlier calls, then free the memory. The threads keep serving other indexes."""
        await asyncio.get_running_loop().run_in_executor(self._calls, self._rows.clear)


def use_one_blas_thread() -> None:
    """Limit the matrix products of numpy and FAISS to one thread, for all libraries that are loaded.

    BLAS threads wait for work by spinning, on the cores that encode and decode. The product of one image and
    a thousand labels took 1.8 ms on two processors, and takes 0.03 ms on one.
    """
    threadpool_limits(limits=1, user_api="blas")
