"""Nearest neighbours by inner product, found on a GPU; knows nothing of images or collections."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf

import numpy as np

from diptych.adapters.faiss_gpu import FaissGpu, GpuRows, short
from diptych.adapters.faiss_gpu_certain import can_answer, certain_nearest
from diptych.adapters.faiss_gpu_choice import CopyChoice
from diptych.adapters.faiss_gpu_copying import Copying
from diptych.adapters.faiss_gpu_lists import IvfPlan
from diptych.adapters.faiss_rows import BLOCK_BYTES, FlatRows
from diptych.core.types import Embedding, Embeddings, IndexPlace, Keys

LOG = logging.getLogger("diptych.index")
MIN_ROWS = 50_000  # fewer are searched by the CPU in less time than a GPU is asked in
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

    With a plan for IVF, the copy of a large collection is in lists, of which so few are searched that almost
    all of the nearest are found, as measured by rows of its own and by the last queries. What is certain then
    is certain of the rows in those lists: cosines and order are right, and a few rows may be missed. For more
    hits than recall is measured of, and for searches that are to be `exact`, the CPU is asked.

    Copies are never changed: a new one is made block by block between searches, when the tail has grown or
    much was removed. All calls go through `thread`, which alone uses the GPU.
    """

    def __init__(
        self,
        embed_dim: int,
        thread: ThreadPoolExecutor,
        gpu: FaissGpu,
        block_bytes: int = BLOCK_BYTES,
        *,
        ivf: IvfPlan | None = None,
        min_rows: int = MIN_ROWS,
        min_tail: int = MIN_TAIL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._tail = FlatRows(embed_dim, block_bytes), FlatRows(embed_dim, block_bytes)
        self._embed_dim, self._thread, self._gpu = embed_dim, thread, gpu
        self._choice, self._min_rows, self._min_tail = CopyChoice(embed_dim, ivf), min_rows, min_tail
        self._sealed: GpuRows | None = None
        self._copying: Copying | None = None
        self._measuring: Generator[None, None, str] | None = None
        self._lost = ""  # why there is no copy
        self._clock, self._again_at = clock, 0.0  # when there may be one, where it is lost

    @property
    def recall(self) -> float:
        """As measured of the copy that is searched; of all rows and 1 where every row is compared."""
        sealed = self._sealed  # another thread may let go of it
        return 1.0 if sealed is None else sealed.recall

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being copied or measured."""
        return self._copying is None and self._measuring is None

    @property
    def place(self) -> IndexPlace:
        """Where it is searched now."""
        sealed = self._sealed
        if sealed is None:
            return IndexPlace("cpu", self._lost or f"fewer than {self._min_rows:,} rows, or not copied yet")
        copied = f"{sealed.n_rows:,} rows are copied onto the GPU"
        if sealed.n_lists:
            lists = f"in {sealed.n_lists:,} lists, of which {sealed.n_probes:,} are searched"
            return IndexPlace("cuda", f"{copied}, {lists}", "ivf")
        return IndexPlace("cuda", f"{copied}; {sealed.why}" if sealed.why else copied)

    async def apply(self, removed: Sequence[int], keys: Sequence[int], rows: Embeddings) -> None:
        """Take `removed` out and put `rows` (N, D) in under `keys`; no search sees half of it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, removed, keys, rows)

    async def search(
        self, query: Embedding, k: int, allowed: Keys | None, *, exact: bool = False
    ) -> tuple[Keys, Embedding]:
        """As `FaissFlatIndex.search`; a copy in lists may miss some unless it is to be `exact`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._search, query, k, allowed, exact)

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
            self._copy()

    def _needs_copy(self) -> bool:
        n_rows = self._rows.n_rows
        if n_rows < self._min_rows or (self._lost and self._clock() < self._again_at):
            return False
        if self._sealed is None:
            return True
        n_tail, n_dead = self._tail.n_rows, self._sealed.n_dead
        return n_tail > max(self._min_tail, TAIL_SHARE * n_rows) or n_dead > DEAD_SHARE * self._sealed.n_rows

    def _copy(self) -> None:
        """Begin another copy, which is measured by itself."""
        self._measuring = None
        self._copying = Copying(self._gpu, self._embed_dim, self._rows.blocks)
        self._choice.begin(self._copying, self._rows.n_rows)
        self._submit(self._copy_on, self._copying)

    def _copy_on(self, copying: Copying) -> None:
        """One piece more; searches that wait come in between."""
        if copying is not self._copying:
            return  # it was closed
        failure = ""
        try:
            is_whole = next(copying.steps, self) is self
        except Exception as error:
            failure = short(error)
        if failure:  # past the error, which holds on to the copy as well
            self._retry(copying, failure)
        elif is_whole:
            self._take(copying)
        else:
            self._submit(self._copy_on, copying)

    def _retry(self, copying: Copying, error: str) -> None:
        """Where the GPU has no room for two copies, the old one goes first; not where it has none for one."""
        has_no_room = any(said in error for said in NO_ROOM)
        if self._sealed is not None:
            LOG.info("the GPU takes no second copy of an index beside the first: %s", error)
        elif has_no_room and copying.in_lists:  # which take more than their rows while they grow
            self._choice.give_up(f"the GPU has no room for lists: {error}", self._rows.n_rows)
        else:
            self._lose(f"rows cannot be copied onto the GPU: {error}", AGAIN_S if has_no_room else inf)
            return
        self._let_go()
        self._copy()

    def _submit(self, call: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the thread was shut down: nobody searches any more
            self._thread.submit(call, *arguments)

    def _take(self, copying: Copying) -> None:
        copy = copying.copy
        assert copy is not None
        copy.bury(np.array(sorted(copying.gone), np.int64))
        self._tail.change(copy.keys[~copy.dead], (), np.empty((0, self._embed_dim), np.float32))
        former, self._sealed, self._copying = self._sealed, copy, None
        self._lost = ""
        if former is not None:
            former.close()
        if copying.in_lists and not copy.n_lists:
            self._choice.give_up(copy.why, self._rows.n_rows)
        LOG.info("an index is on the GPU: %s", self.place.reason)

    def _measure_if_due(self, sealed: GpuRows) -> None:
        if self._measuring is None and self._copying is None:
            self._measuring = self._choice.measuring(sealed, self._rows.blocks)
            if self._measuring is not None:
                self._submit(self._measure_on, self._measuring)

    def _measure_on(self, measuring: Generator[None, None, str]) -> None:
        """One piece more, as `_copy_on`."""
        if measuring is not self._measuring:
            return  # it was closed, or another copy is made
        failure, why, is_done = "", "", False
        try:
            next(measuring)
        except StopIteration as end:
            is_done, why = True, end.value
        except Exception as error:
            failure = short(error)
        if failure:
            self._lose(f"the GPU failed while it was measured: {failure}")
        elif not is_done:
            self._submit(self._measure_on, measuring)
        else:
            self._measuring = None
            if why:
                self._choice.give_up(why, self._rows.n_rows)
                self._copy()

    def _search(self, query: Embedding, k: int, allowed: Keys | None, exact: bool) -> tuple[Keys, Embedding]:
        if allowed is None and k > 0:
            self._choice.heard(query)
        sealed = self._sealed
        if sealed is not None and allowed is None and k > 0 and can_answer(sealed, k, exact=exact):
            failure, found = "", None
            try:
                found = certain_nearest(sealed, self._rows, self._tail, query, k)
            except Exception as error:
                failure = short(error)
            if failure:  # past the error, which holds on to the copy as well
                self._lose(f"the GPU failed in a search: {failure}")
            else:
                self._measure_if_due(sealed)
            if found is not None:
                return found
        if self._lost:
            self._copy_if_needed()
        return self._rows.nearest(query, k, allowed)

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
        sealed, copying = self._sealed, self._copying
        self._sealed = self._copying = self._measuring = None
        if sealed is not None:
            sealed.close()
        if copying is not None:
            copying.close()
