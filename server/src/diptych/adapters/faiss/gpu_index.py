"""Nearest neighbours by inner product, found on a GPU; knows nothing of images or collections."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf

import numpy as np

from diptych.adapters.faiss.gpu_rows import MAX_K, FaissGpu, GpuRows, short
from diptych.adapters.faiss.rows import BLOCK_BYTES, Block, FlatRows, Found, ranked
from diptych.core.types import Embedding, Embeddings, IndexPlace, Keys

LOG = logging.getLogger("diptych.index")
MIN_ROWS = 50_000  # fewer are searched by the CPU in less time than a GPU is asked in
# Beyond which a new copy is made: over a row of the tail the CPU takes far longer than the GPU over its own.
MIN_TAIL, TAIL_SHARE, REMOVED_SHARE = 10_000, 1 / 32, 1 / 5
SPARE = 64  # hits more than asked: some are removed, and equal ones are told apart by their keys
RETRY_S = 600.0  # after which a GPU that had no room may have some: what else runs there comes and goes
NO_ROOM = ("out of memory", "alloc fail")  # as CUDA and FAISS say it
GROWTH = 2  # times its rows a copy takes while it grows: FAISS moves all that is there for each block


class FaissGpuIndex:
    """Satisfies `diptych.core.collections.ports.VectorIndex`, with the hits of `FaissFlatIndex`.

    All rows are kept in host memory, and a copy of most of them on the GPU; what came since then is the tail,
    which the CPU searches. Copies are made block by block between searches, when the tail has grown or much
    was removed. The CPU searches among `allowed` rows, for which indexes of FAISS on a GPU have no selectors,
    and wherever the GPU has no room, fails, or finds too many rows that are equal.

    All calls go through `thread`, which alone uses the GPU.
    """

    recall = 1.0  # every row is compared

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
        self._next_copy: GpuRows | None = None  # that is being made
        self._trouble, self._retry_at = "", 0.0

    @property
    def place(self) -> IndexPlace:
        """Where it is searched now."""
        copy = self._copy  # another thread may let go of it
        if copy is not None:
            return IndexPlace("cuda", f"{copy.n_rows:,} rows are copied onto the GPU")
        return IndexPlace("cpu", self._trouble or f"fewer than {self._min_rows:,} rows, or not copied yet")

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, removed, keys, rows)

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """As `FaissFlatIndex.search`, and by the CPU when it is to be `exact`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._search, query, k, allowed, exact)

    async def close(self) -> None:
        """Wait for the calls made so far and give the memory back, the GPU's too."""
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
        """The k nearest of the copy and the tail; None where the CPU has to be asked."""
        in_tail, failure = self._tail.nearest(query, k, None), ""
        try:
            for n in _amounts(k + SPARE, copy.n_rows):
                keys, cosines, least = copy.nearest(query, n)
                keys, cosines = ranked([in_tail, (keys, cosines)])
                # Hits as near as the last row that was looked at may have equals that were not.
                if n >= copy.n_rows or (len(keys) >= k and cosines[k - 1] > least):
                    return keys[:k], cosines[:k]
        except Exception as error:
            failure = short(error)
        if failure:  # past the error, which holds on to the copy as well
            self._give_up(f"the GPU failed in a search: {failure}", inf)
        return None

    def _copy_if_needed(self) -> None:
        if self._next_copy is not None or not self._needs_copy():
            return
        failure = ""
        try:
            if self._lacks_room():
                return
            self._next_copy = self._gpu.rows(self._embed_dim)
        except Exception as error:
            failure = short(error)
        if failure:
            self._give_up(f"rows cannot be copied onto the GPU: {failure}", inf)
        else:
            self._soon(self._next_copy, iter(self._rows.blocks))

    def _needs_copy(self) -> bool:
        n_rows, copy = self._rows.n_rows, self._copy
        if n_rows < self._min_rows or self._clock() < self._retry_at:
            return False
        if copy is None:
            return True
        is_long = self._tail.n_rows > max(self._min_tail, TAIL_SHARE * n_rows)
        return is_long or copy.n_removed > REMOVED_SHARE * copy.n_rows

    def _lacks_room(self) -> bool:
        """Whether the GPU has none for another copy; where it has none for two, the old one goes first."""
        needed = GROWTH * 4 * self._embed_dim * self._rows.n_rows
        free = self._gpu.free_bytes()
        if needed > free and self._copy is not None:
            self._let_go()
            free = self._gpu.free_bytes()
        if needed > free:
            told = f"a copy takes {needed:,} bytes while it is made, the GPU has {free:,} free"
            self._give_up(told, RETRY_S)
        return needed > free

    def _soon(self, copy: GpuRows | None, blocks: Iterator[Block]) -> None:
        with suppress(RuntimeError):  # the thread was shut down: nobody searches any more
            self._thread.submit(self._go_on, copy, blocks)

    def _go_on(self, copy: GpuRows | None, blocks: Iterator[Block]) -> None:
        """One block more; searches that wait come in between."""
        if copy is None or copy is not self._next_copy:
            return  # it was let go of
        block, failure = next(blocks, None), ""
        try:
            if block is not None and block.n_rows:
                copy.add(block.keys, block.rows)
        except Exception as error:
            failure = short(error)
        if failure:  # past the error, which holds on to the copy as well
            has_no_room = any(said in failure for said in NO_ROOM)
            told = f"rows cannot be copied onto the GPU: {failure}"
            self._give_up(told, RETRY_S if has_no_room else inf)
        elif block is not None:
            self._soon(copy, blocks)
        else:
            self._take(copy)

    def _take(self, copy: GpuRows) -> None:
        """What came while it was made, and is in no block that was copied then, stays in the tail."""
        self._tail.change(copy.keys, (), np.empty((0, self._embed_dim), np.float32))
        former, self._copy, self._next_copy, self._trouble = self._copy, copy, None, ""
        if former is not None:
            former.close()
        LOG.info("an index is on the GPU: %s", self.place.reason)

    def _give_up(self, trouble: str, for_s: float) -> None:
        """Search on the CPU, which has all rows."""
        how_long = "from now on" if for_s == inf else f"for {for_s / 60:.0f} minutes at least"
        LOG.warning("an index is searched on the CPU %s: %s", how_long, trouble)
        self._trouble, self._retry_at = trouble, self._clock() + for_s
        self._let_go()

    def _let_go(self) -> None:
        """Of the copy and of the one that is being made."""
        copies, self._copy, self._next_copy = (self._copy, self._next_copy), None, None
        for copy in copies:
            if copy is not None:
                copy.close()
        self._tail.clear()

    def _clear(self) -> None:
        self._let_go()
        self._rows.clear()


def _amounts(first: int, n_rows: int) -> Iterator[int]:
    """Of rows to look at, more and more, as long as the GPU gives so many at once."""
    amount = first
    while amount < n_rows and amount <= MAX_K:
        yield amount
        amount *= 4
    if n_rows <= MAX_K:
        yield n_rows
