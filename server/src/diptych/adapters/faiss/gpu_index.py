"""Exact nearest neighbours by inner product, in FAISS on a GPU."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf

import numpy as np

from diptych.adapters.faiss.gpu_rows import MAX_K, FaissGpu, GpuRows, short
from diptych.adapters.faiss.rows import BLOCK_BYTES, Block, FlatRows, Found, ranked
from diptych.core.serving.ports import Restored
from diptych.core.types import EXACT, Embedding, Embeddings, IndexPlacement, Keys

LOG = logging.getLogger("diptych.index")
MIN_ROWS = 50_000  # the CPU searches fewer rows faster than a call to the GPU takes
# Above these a new copy is made: the CPU takes far longer for a row of the tail than the GPU for one of its
# own.
MIN_TAIL, TAIL_SHARE, REMOVED_SHARE = 10_000, 1 / 32, 1 / 5
SPARE = 64  # additional hits: some rows are removed, and equal cosines are ordered by their keys
RETRY_S = (
    600.0  # after which a GPU without free memory is tried again, since other programs on it come and go
)
OUT_OF_MEMORY = ("out of memory", "alloc fail")  # in messages of CUDA and FAISS
GROWTH = 2  # a growing copy takes twice the memory of its rows: FAISS reallocates for each block


class FaissGpuIndex:
    """Satisfies `diptych.core.serving.ports.VectorIndex`, with the hits of an exact `FaissCpuIndex`.

    All rows are kept in host memory, and a copy of most of them on the GPU. Rows added since the copy was
    made are the tail, which the CPU searches. A copy is made block by block between searches, when the tail
    has grown or many rows were removed. The CPU searches alone if `allowed` is given, because FAISS's GPU
    indexes have no selectors, and if the GPU has no memory, fails, or finds too many rows with equal cosines.

    All calls go through `thread`, the only one that uses the GPU.
    """

    recall = EXACT
    needs_training = needs_saving = False

    def __init__(
        self,
        embed_dim: int,
        thread: ThreadPoolExecutor,
        gpu: FaissGpu,
        block_bytes: int = BLOCK_BYTES,
        *,
        min_rows: int = MIN_ROWS,
        min_tail: int = MIN_TAIL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._tail = FlatRows(embed_dim, block_bytes), FlatRows(embed_dim, block_bytes)
        self._embed_dim, self._thread, self._gpu = embed_dim, thread, gpu
        self._min_rows, self._min_tail, self._clock = min_rows, min_tail, clock
        self._copy: GpuRows | None = None
        self._next_copy: GpuRows | None = None  # the copy that is being made
        self._problem, self._retry_at = "", 0.0

    @property
    def placement(self) -> IndexPlacement:
        """The device that searches now, and the reason."""
        copy = self._copy  # another thread may drop it
        if copy is not None:
            return IndexPlacement("cuda", f"{copy.n_rows:,} rows are copied onto the GPU")
        return IndexPlacement(
            "cpu", self._problem or f"fewer than {self._min_rows:,} rows, or not copied yet"
        )

    @property
    def memory_bytes(self) -> int:
        """The bytes of the rows in host memory."""
        return self._rows.memory_bytes

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Remove the keys `removed` and add `rows` (N, D) under `keys`; no search sees half of the change."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, removed, keys, rows)

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """Search as `FaissCpuIndex.search` does; with `exact` on the CPU."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._search, query, k, allowed, exact)

    async def train(self, name: str, texts: Mapping[str, Embeddings], title: str = "") -> None:
        """Do nothing: all rows are compared."""

    async def save(self, name: str, change: int) -> None:
        """Do nothing: it has no files."""

    async def restore(self, name: str, last_change: int, title: str = "") -> Restored:
        """Find nothing: it has no files."""
        return Restored()

    async def close(self, *, forget: bool = False) -> None:
        """Wait for earlier calls, then free the memory of host and GPU."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)

    def _apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        self._rows.change(removed, keys, rows)
        copies = [copy for copy in (self._copy, self._next_copy) if copy is not None]
        for copy in copies:
            copy.remove(np.array(removed, np.int64))
        if copies:
            self._tail.change(removed, keys, rows)
        self._copy_if_needed()

    def _search(self, query: Embedding, k: int, allowed: Keys | None, exact: bool) -> Found:
        found = None
        if self._copy is not None and allowed is None and k > 0 and not exact:
            found = self._nearest(self._copy, query, k)
        self._copy_if_needed()
        return self._rows.nearest(query, k, allowed) if found is None else found

    def _nearest(self, copy: GpuRows, query: Embedding, k: int) -> Found | None:
        """The k nearest of the copy and the tail; None if the CPU has to search."""
        in_tail, failure = self._tail.nearest(query, k, None), ""
        try:
            for n in _hit_counts(k + SPARE, copy.n_rows):
                keys, cosines, least = copy.nearest(query, n)
                keys, cosines = ranked([in_tail, (keys, cosines)])
                # Rows beyond the n nearest may have the same cosine as the nth, but not a higher one.
                if n >= copy.n_rows or (len(keys) >= k and cosines[k - 1] > least):
                    return keys[:k], cosines[:k]
        except Exception as error:
            failure = short(error)
        if failure:  # after the except block, because the error refers to the copy as well
            self._give_up(f"the GPU failed in a search: {failure}", inf)
        return None

    def _copy_if_needed(self) -> None:
        if self._next_copy is not None or not self._needs_copy():
            return
        failure = ""
        try:
            if self._lacks_memory():
                return
            self._next_copy = self._gpu.rows(self._embed_dim)
        except Exception as error:
            failure = short(error)
        if failure:
            self._give_up(f"rows cannot be copied onto the GPU: {failure}", inf)
        else:
            self._queue_block(self._next_copy, iter(self._rows.blocks))

    def _needs_copy(self) -> bool:
        n_rows, copy = self._rows.n_rows, self._copy
        if n_rows < self._min_rows or self._clock() < self._retry_at:
            return False
        if copy is None:
            return True
        is_long = self._tail.n_rows > max(self._min_tail, TAIL_SHARE * n_rows)
        return is_long or copy.n_removed > REMOVED_SHARE * copy.n_rows

    def _lacks_memory(self) -> bool:
        """Whether the GPU has no memory for another copy.

        If it cannot hold two, the old copy is dropped first.
        """
        needed = GROWTH * 4 * self._embed_dim * self._rows.n_rows
        free = self._gpu.free_bytes()
        if needed > free and self._copy is not None:
            self._drop_copies()
            free = self._gpu.free_bytes()
        if needed > free:
            message = f"a copy takes {needed:,} bytes while it is made, the GPU has {free:,} free"
            self._give_up(message, RETRY_S)
        return needed > free

    def _queue_block(self, copy: GpuRows | None, blocks: Iterator[Block]) -> None:
        with suppress(RuntimeError):  # the thread was shut down, so there are no more searches
            self._thread.submit(self._copy_block, copy, blocks)

    def _copy_block(self, copy: GpuRows | None, blocks: Iterator[Block]) -> None:
        """Copy one more block, then queue the next one, so that waiting searches run in between."""
        if copy is None or copy is not self._next_copy:
            return  # it was dropped
        block, failure = next(blocks, None), ""
        try:
            if block is not None and block.n_rows:
                copy.add(block.keys, block.rows)
        except Exception as error:
            failure = short(error)
        if failure:  # after the except block, because the error refers to the copy as well
            lacks_memory = any(text in failure for text in OUT_OF_MEMORY)
            message = f"rows cannot be copied onto the GPU: {failure}"
            self._give_up(message, RETRY_S if lacks_memory else inf)
        elif block is not None:
            self._queue_block(copy, blocks)
        else:
            self._use(copy)

    def _use(self, copy: GpuRows) -> None:
        """Use a finished copy. Rows that were added meanwhile to blocks already copied stay in the tail."""
        self._tail.change(copy.keys, (), np.empty((0, self._embed_dim), np.float32))
        former, self._copy, self._next_copy, self._problem = self._copy, copy, None, ""
        if former is not None:
            former.close()
        LOG.info("an index is on the GPU: %s", self.placement.reason)

    def _give_up(self, problem: str, for_s: float) -> None:
        """Drop the copies and search on the CPU, which has all rows, for `for_s` seconds."""
        how_long = "from now on" if for_s == inf else f"for {for_s / 60:.0f} minutes at least"
        LOG.warning("an index is searched on the CPU %s: %s", how_long, problem)
        self._problem, self._retry_at = problem, self._clock() + for_s
        self._drop_copies()

    def _drop_copies(self) -> None:
        """Drop the copy, and the one that is being made."""
        copies, self._copy, self._next_copy = (self._copy, self._next_copy), None, None
        for copy in copies:
            if copy is not None:
                copy.close()
        self._tail.clear()

    def _clear(self) -> None:
        self._drop_copies()
        self._rows.clear()


def _hit_counts(first: int, n_rows: int) -> Iterator[int]:
    """Increasing numbers of hits to ask for, up to what the GPU returns at once."""
    n_hits = first
    while n_hits < n_rows and n_hits <= MAX_K:
        yield n_hits
        n_hits *= 4
    if n_rows <= MAX_K:
        yield n_rows
