"""Exact nearest neighbours by inner product, found on a GPU; knows nothing of images or collections."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf

import numpy as np

from diptych.adapters.faiss_gpu import MAX_K, FaissGpu, GpuRows, short
from diptych.adapters.faiss_rows import BLOCK_BYTES, Block, FlatRows, cosines_of, ranked
from diptych.core.types import Embedding, Embeddings, IndexPlace, Keys

LOG = logging.getLogger("diptych.index")
MIN_ROWS = 50_000  # fewer are searched by the CPU in less time than a GPU is asked in
SPARE = 64  # hits more than asked: those of which only their exact cosines tell whether they are among the k
# Between the GPU's sum of the products of two unit vectors and the CPU's: both in float32, in other orders.
MAX_ERROR = 2e-5
# Beyond which a new copy is made: over a row of the tail the CPU takes far longer than the GPU over its own.
MIN_TAIL, TAIL_SHARE, DEAD_SHARE = 10_000, 1 / 32, 1 / 5
AGAIN_S = 600.0  # after which a GPU that had no room may have some: what else runs there comes and goes
NO_ROOM = ("out of memory", "alloc fail")  # as CUDA and FAISS say it


class FaissGpuIndex:
    """Satisfies `diptych.core.ports.VectorIndex`, with the hits and the cosines of `FaissFlatIndex`.

    All rows are kept in host memory, and most of them, those of a sealed copy, on the GPU as well; what came
    since then is the tail. The GPU proposes hits, the CPU computes their cosines anew, and they are answered
    if it is certain that nothing which the GPU left out can be as near. Else, as among thousands of equal
    rows, the CPU is asked, and so it is for searches among `allowed` rows: GPU indexes know no selectors.

    Copies are never changed: a new one is made block by block between searches, when the tail has grown or
    much was removed. All calls go through `thread`, which alone uses the GPU.
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
        self._min_rows, self._min_tail = min_rows, min_tail
        self._sealed: GpuRows | None = None
        self._copying: _Copying | None = None
        self._lost = ""  # why there is no copy
        self._clock, self._again_at = clock, 0.0  # when there may be one, where it is lost

    @property
    def place(self) -> IndexPlace:
        """Where it is searched now."""
        sealed = self._sealed  # another thread may let go of it
        if sealed is not None:
            return IndexPlace("cuda", f"{sealed.n_rows:,} rows are copied onto the GPU")
        return IndexPlace("cpu", self._lost or f"fewer than {self._min_rows:,} rows, or not copied yet")

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, removed, keys, rows)

    async def search(self, query: Embedding, k: int, allowed: Keys | None) -> tuple[Keys, Embedding]:
        """As `FaissFlatIndex.search`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._search, query, k, allowed)

    async def close(self) -> None:
        """Wait for the calls made so far and give the memory back, the GPU's too."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)

    def _apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        self._rows.change(removed, keys, rows)
        if self._sealed is not None:
            self._sealed.bury(np.array(removed, np.int64))
        if self._copying is not None:
            self._copying.gone.update(removed)
        if self._sealed is not None or self._copying is not None:
            self._tail.change(removed, keys, rows)
        self._copy_if_needed()

    def _copy_if_needed(self) -> None:
        if self._copying is None and self._needs_copy():
            self._copying = _Copying(self._rows.blocks)
            self._submit(self._copying)

    def _needs_copy(self) -> bool:
        n_rows = self._rows.n_rows
        if n_rows < self._min_rows or (self._lost and self._clock() < self._again_at):
            return False
        if self._sealed is None:
            return True
        n_tail, n_dead = self._tail.n_rows, self._sealed.n_dead
        return n_tail > max(self._min_tail, TAIL_SHARE * n_rows) or n_dead > DEAD_SHARE * self._sealed.n_rows

    def _copy_on(self, copying: "_Copying") -> None:
        """One block more; searches that wait come in between."""
        if copying is not self._copying:
            return  # it was closed
        try:
            is_whole = self._copy_block(copying)
        except Exception as error:
            failure = short(error)
        else:
            if not is_whole:
                self._submit(copying)
            return
        self._retry(failure)  # past the error, which holds on to the copy as well

    def _copy_block(self, copying: "_Copying") -> bool:
        """Whether there was none left, and the copy is taken. Raises what FAISS raises."""
        if copying.copy is None:
            copying.copy = self._gpu.copy(self._embed_dim)
        block = next(copying.blocks, None)
        if block is None:
            self._take(copying, copying.copy)
            return True
        # What came back under the key of something that is gone is in the tail.
        is_known = ~np.isin(block.keys, np.array(sorted(copying.gone), np.int64))
        if is_known.any():
            copying.copy.add(block.keys[is_known], block.rows[is_known])
        return False

    def _retry(self, error: str) -> None:
        """Where the GPU has no room for two copies, the old one goes first; not where it has none for one."""
        if self._sealed is None:
            has_room = not any(said in error for said in NO_ROOM)
            self._lose(f"rows cannot be copied onto the GPU: {error}", inf if has_room else AGAIN_S)
            return
        LOG.info("the GPU takes no second copy of an index beside the first: %s", error)
        self._let_go()
        self._copying = _Copying(self._rows.blocks)
        self._submit(self._copying)

    def _submit(self, copying: "_Copying") -> None:
        with suppress(RuntimeError):  # the thread was shut down: nobody searches any more
            self._thread.submit(self._copy_on, copying)

    def _take(self, copying: "_Copying", copy: GpuRows) -> None:
        copy.seal()
        copy.bury(np.array(sorted(copying.gone), np.int64))
        self._tail.change(copy.keys[~copy.dead], (), np.empty((0, self._embed_dim), np.float32))
        former, self._sealed, self._copying = self._sealed, copy, None
        self._lost = ""
        if former is not None:
            former.close()
        LOG.info("an index of %d rows is on the GPU", copy.n_rows)

    def _search(self, query: Embedding, k: int, allowed: Keys | None) -> tuple[Keys, Embedding]:
        if self._sealed is not None and allowed is None and k > 0:
            failure, found = "", None
            try:
                found = self._certain(self._sealed, query, k)
            except Exception as error:
                failure = short(error)
            if failure:  # past the error, which holds on to the copy as well
                self._lose(f"the GPU failed in a search: {failure}")
            elif found is not None:
                return found
        if self._lost:
            self._copy_if_needed()
        return self._rows.nearest(query, k, allowed)

    def _certain(self, sealed: GpuRows, query: Embedding, k: int) -> tuple[Keys, Embedding] | None:
        """The k nearest; None where the GPU cannot tell them from others. Raises _Wrong, and FAISS's own."""
        tail = self._tail.nearest(query, k, None)
        for asked in _amounts(k + SPARE, sealed.n_rows):
            places, rough = sealed.nearest(query, asked)
            is_live = ~sealed.dead[places]
            keys = sealed.keys[places[is_live]]
            exact = cosines_of(query, self._rows.rows_of(keys)) if len(keys) else np.empty(0, np.float32)
            _require_equal(exact, rough[is_live])
            found, cosines = ranked([tail, (keys, exact)])
            # What was left out is at most as near as the last that was not, but for the error of both sums.
            is_whole = len(places) >= sealed.n_rows
            if is_whole or (len(found) >= k and cosines[k - 1] > rough[-1] + MAX_ERROR):
                return found[:k], cosines[:k]
        return None

    def _lose(self, reason: str, for_s: float = inf) -> None:
        """Search on the CPU, which has all rows, from now on or for so long."""
        how_long = "from now on" if for_s == inf else f"for {for_s / 60:.0f} minutes at least"
        LOG.warning("an index is searched on the CPU %s: %s", how_long, reason)
        self._lost, self._again_at = reason, self._clock() + for_s
        self._let_go()
        self._tail.clear()

    def _clear(self) -> None:
        self._let_go()
        self._tail.clear()
        self._rows.clear()

    def _let_go(self) -> None:
        """Of the copy, and of the one that is being made."""
        copies = self._sealed, self._copying.copy if self._copying else None
        self._sealed = self._copying = None
        for copy in filter(None, copies):
            copy.close()


class _Wrong(Exception):
    """What the GPU computed is not what the CPU computes."""


class _Copying:
    """A copy that is being made: `blocks` are left to do, `gone` was removed since its block was copied."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks: Iterator[Block] = iter(blocks)
        self.copy: GpuRows | None = None
        self.gone: set[int] = set()


def _amounts(first: int, n_rows: int) -> Iterator[int]:
    """Of hits to ask for, more and more, as long as the GPU gives so many at once."""
    amount = first
    while amount < n_rows and amount <= MAX_K:
        yield amount
        amount *= 4
    if n_rows <= MAX_K:
        yield n_rows


def _require_equal(exact: Embedding, rough: Embedding) -> None:
    off = float(np.abs(exact - rough).max(initial=0.0))
    if not off <= MAX_ERROR:  # true for NaN as well
        raise _Wrong(f"a cosine is off by {off:.2g}")
