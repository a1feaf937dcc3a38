"""Copies in lists (IVF) on a GPU: taken where they are measured to find enough, and else not."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import faiss
import numpy as np
import pytest

from diptych.adapters.faiss_exam import MAX_HITS
from diptych.adapters.faiss_gpu import FaissGpu
from diptych.adapters.faiss_gpu_choice import N_ASKED
from diptych.adapters.faiss_gpu_index import FaissGpuIndex
from diptych.adapters.faiss_gpu_lists import IvfPlan
from diptych.adapters.faiss_index import FaissFlatIndex, index_thread
from support.fake_faiss_gpu import FakeFaissGpu

DIM, N_ROWS, BLOCK_ROWS = 16, 3_000, 500
NO_ROWS = np.empty((0, DIM), np.float32)
CENTRES = np.random.default_rng(11).standard_normal((30, DIM)).astype(np.float32)
CENTRES[:, DIM // 2 :] = 0.0  # rows lie in half of the space, as images do in theirs


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeFaissGpu:
    return FakeFaissGpu().install(monkeypatch)


class SteppedThread(ThreadPoolExecutor):
    """An index's thread whose own work, the steps of a copy and of measuring, waits for the test."""

    def __init__(self) -> None:
        super().__init__(1, initializer=faiss.omp_set_num_threads, initargs=(1,))
        self._test = threading.get_ident()
        self._waiting: Callable[[], Future[Any]] | None = None
        self._is_held = True

    def submit(self, call: Callable[..., Any], /, *given: Any, **options: Any) -> "Future[Any]":
        begin = partial(super().submit, call, *given, **options)
        if threading.get_ident() == self._test or not self._is_held:
            return begin()
        assert self._waiting is None, "a step begins the next one"
        self._waiting = begin
        return Future()

    async def step(self) -> None:
        """Do the one that waits."""
        begin, self._waiting = self._waiting, None
        assert begin is not None, "there is nothing more to do"
        await asyncio.wrap_future(begin())

    async def let_go(self) -> None:
        """All others come by themselves."""
        self._is_held = False
        await self.step()


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def images(n: int, seed: int = 0) -> np.ndarray:
    """(N, D) around the centres."""
    rng = np.random.default_rng(seed)
    return unit(CENTRES[rng.integers(0, len(CENTRES), n)] + 0.3 * rng.standard_normal((n, DIM)))


def texts(n: int, seed: int = 1) -> np.ndarray:
    """(N, D) that lie elsewhere: the nearest rows of each are spread over many lists."""
    rows = np.random.default_rng(seed).standard_normal((n, DIM))
    rows[:, : DIM // 2] *= 0.05
    return unit(rows)


async def filled(plan: IvfPlan, n_rows: int = N_ROWS, min_tail: int = 10_000) -> FaissGpuIndex:
    index = FaissGpuIndex(
        DIM, index_thread(), FaissGpu(), 4 * DIM * BLOCK_ROWS, ivf=plan, min_rows=100, min_tail=min_tail
    )
    await index.apply((), list(range(n_rows)), images(n_rows))
    await settled(index)
    return index


async def settled(index: FaissGpuIndex) -> None:
    """Until no copy is being made or measured."""
    for _ in range(500):
        await index.search(CENTRES[0], 0, None)
        if index.is_settled:
            return
    raise AssertionError("it does not end")


async def truth(n_rows: int = N_ROWS) -> FaissFlatIndex:
    flat = FaissFlatIndex(DIM, index_thread())
    await flat.apply((), list(range(n_rows)), images(n_rows))
    return flat


async def share_found(index: FaissGpuIndex, flat: FaissFlatIndex, queries: np.ndarray, k: int = 10) -> float:
    """Of the k nearest; what is found has the cosines of the CPU, and is in order."""
    n_found = 0
    for query in queries:
        keys, cosines = await index.search(query, k, None)
        true_keys, true_cosines = await flat.search(query, N_ROWS * 2, None)
        by_key = dict(zip(true_keys.tolist(), true_cosines.tolist(), strict=True))
        assert [by_key[key] for key in keys.tolist()] == cosines.tolist()
        assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)
        assert len(keys) == k == len(set(keys.tolist()))
        n_found += len(set(keys.tolist()) & set(true_keys[:k].tolist()))
    return n_found / (k * len(queries))


def run(test: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(test())


def test_a_large_collection_is_searched_in_few_lists_and_says_how_much_it_finds(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(IvfPlan(min_rows=1_000)), await truth()
        (n_lists,), n_probes = gpu.n_lists, gpu.n_probes[-1]
        place = index.place
        assert (place.device, place.search) == ("cuda", "ivf")
        assert f"3,000 rows are copied onto the GPU, in {n_lists} lists, of which " in place.reason
        assert 0.99 <= index.recall <= 1.0
        gpu.n_probes.clear()
        assert await share_found(index, flat, images(50, seed=5)) >= 0.97
        (n_probes,) = set(gpu.n_probes)
        assert 1 <= n_probes <= n_lists / 4
        assert f"of which {n_probes} are searched" in place.reason

    run(test)


def test_lists_by_bad_centroids_are_measured_and_not_taken(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        gpu.bad_lists = True
        index, flat = await filled(IvfPlan(min_rows=1_000)), await truth()
        assert len(gpu.n_lists) == 1, "they were tried"
        assert (index.place.search, index.recall, index.place.device) == ("exact", 1.0, "cuda")
        assert "lists find 2" in index.place.reason, "a quarter of the lists has a quarter of the rows"
        assert "of the nearest, below 99.0%" in index.place.reason
        n_before = gpu.n_searches
        assert await share_found(index, flat, images(20, seed=5)) == 1.0
        assert gpu.n_searches == n_before + 20
        assert [one.ntotal for one in gpu.alive] == [N_ROWS], "they are gone from the GPU"

    run(test)


def test_lists_that_find_too_little_are_tried_again_when_there_are_twice_as_many_rows(
    gpu: FakeFaissGpu,
) -> None:
    async def test() -> None:
        gpu.bad_lists = True
        index = await filled(IvfPlan(min_rows=1_000), n_rows=1_000, min_tail=50)
        gpu.bad_lists = False
        for start, tried in ((1_000, 1), (1_500, 2)):
            keys = list(range(start, start + 500))
            await index.apply((), keys, images(2_000)[start : start + 500])
            await settled(index)
            assert len(gpu.n_lists) == tried
        assert index.place.search == "ivf"

    run(test)


def test_few_rows_are_copied_whole_and_say_why(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(IvfPlan(min_rows=5_000))
        assert index.place.reason == "3,000 rows are copied onto the GPU; lists begin at 5,000"
        assert (index.place.search, index.recall, gpu.n_lists) == ("exact", 1.0, [])

    run(test)


def test_real_queries_that_lie_elsewhere_have_more_lists_searched(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(IvfPlan(min_rows=1_000, max_share=1.0)), await truth()
        n_probes = index._sealed.n_probes
        asked = texts(N_ASKED)
        assert await share_found(index, flat, asked[:-1]) < 0.9, "as nobody knew of them"
        await share_found(index, flat, asked[-1:])
        await settled(index)
        assert index.place.search == "ivf"
        assert index._sealed.n_probes > n_probes
        assert await share_found(index, flat, asked) >= 0.98
        assert len(gpu.n_lists) == 1, "the copy is the same"

    run(test)


def test_lists_in_which_real_queries_find_too_little_give_way_to_a_whole_copy(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(IvfPlan(min_rows=1_000)), await truth()
        assert index.place.search == "ivf"
        await share_found(index, flat, texts(N_ASKED))
        await settled(index)
        assert (index.place.search, index.recall) == ("exact", 1.0)
        assert "of the nearest, below 99.0%" in index.place.reason
        assert await share_found(index, flat, texts(20, seed=2)) == 1.0

    run(test)


def test_queries_of_before_the_copy_are_among_the_questions(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), ivf=IvfPlan(min_rows=1_000), min_rows=100)
        for query in texts(20):
            await index.search(query, 10, None)
        await index.apply((), list(range(N_ROWS)), images(N_ROWS))
        await settled(index)
        assert (index.place.search, len(gpu.n_lists)) == ("exact", 1)

    run(test)


def test_exact_and_filtered_searches_and_those_for_many_hits_are_the_cpus(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(IvfPlan(min_rows=1_000)), await truth()
        n_before = gpu.n_searches
        for query in texts(5):
            some = np.arange(0, N_ROWS, 7)
            for k, allowed, exact in ((10, None, True), (10, some, False), (MAX_HITS + 1, None, False)):
                found, cosines = await index.search(query, k, allowed, exact=exact)
                true_keys, true_cosines = await flat.search(query, k, allowed)
                assert found.tolist() == true_keys.tolist()
                assert cosines.tobytes() == true_cosines.tobytes()
        assert gpu.n_searches == n_before
        await index.search(images(1)[0], MAX_HITS, None)
        assert gpu.n_searches > n_before

    run(test)


def test_lists_with_fewer_rows_than_hits_are_answered_by_the_cpu(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(IvfPlan(min_rows=1_000)), await truth()
        index._sealed.n_probes = 1  # of some forty rows; some of a hundred and more
        shares = [
            await share_found(index, flat, images(10, seed=5)[at : at + 1], MAX_HITS) for at in range(10)
        ]
        assert shares.count(1.0) >= 3
        assert gpu.n_probes[-1] == 1, "the GPU was asked"

    run(test)


def test_new_rows_are_found_at_once_and_removed_ones_never(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(IvfPlan(min_rows=1_000))
        fresh = images(40, seed=8)
        await index.apply(list(range(0, 1_000)), list(range(9_000, 9_040)), fresh)
        for at, row in enumerate(fresh):
            keys, cosines = await index.search(row, 10, None)
            assert keys[0] == 9_000 + at
            assert cosines[0] == pytest.approx(1, abs=1e-5)
        for row in images(30):
            keys, _ = await index.search(row, 50, None)
            assert not set(keys.tolist()) & set(range(1_000))
            assert len(keys) == 50
        assert len(gpu.n_lists) == 2, "a third of the rows is gone: another copy was made"

    run(test)


def test_what_changes_while_lists_are_made_or_measured_is_found_as_it_is(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        thread = SteppedThread()
        index = FaissGpuIndex(
            DIM, thread, FaissGpu(), 4 * DIM * BLOCK_ROWS, ivf=IvfPlan(min_rows=1_000), min_rows=100
        )
        rows, others = images(N_ROWS), images(200, seed=3)
        await index.apply((), list(range(N_ROWS)), rows)
        for at, key in enumerate(range(5, 2_005, 150)):
            await index.apply([key], [key], others[at : at + 1])
            await thread.step()
            if at == 7:
                await index.apply(list(range(2_500, 2_600)), (), NO_ROWS)
        assert not index.is_settled
        while not index.is_settled:
            await thread.step()
        assert index.place.search == "ivf"
        for at, key in enumerate(range(5, 2_005, 150)):
            assert (await index.search(others[at], 1, None))[0].tolist() == [key]
        n_tail = index._tail.n_rows
        assert index._sealed.n_rows - index._sealed.n_dead + n_tail == index._rows.n_rows == N_ROWS - 100
        # Some go while it is measured.
        for row in images(N_ASKED, seed=4):
            await index.search(row, 5, None)
        await thread.step()
        await index.apply(list(range(300)), (), NO_ROWS)
        assert not index.is_settled
        await thread.let_go()
        await settled(index)
        assert index.recall >= 0.99
        keys, _ = await index.search(rows[3], 20, None)
        assert not set(keys.tolist()) & set(range(300))

    run(test)


def test_a_gpu_with_room_for_the_rows_but_not_for_lists_has_them_whole(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        gpu.max_rows = N_ROWS + 10  # the centroids are more than these ten
        index = await filled(IvfPlan(min_rows=1_000))
        assert (index.place.device, index.place.search) == ("cuda", "exact")
        assert "; the GPU has no room for lists: " in index.place.reason

    run(test)


@pytest.mark.parametrize("when", ["searched", "measured", "copied"])
def test_a_gpu_that_fails_is_left_for_the_cpu_with_its_reason(gpu: FakeFaissGpu, when: str) -> None:
    async def test() -> None:
        flat, failure = await truth(), RuntimeError("CUDA error 700 an illegal memory access")
        gpu.fails_with = failure if when == "copied" else None
        index = await filled(IvfPlan(min_rows=1_000))
        if when == "measured":
            gpu.fails_in_batches = True
            await share_found(index, flat, images(N_ASKED, seed=5))
            await settled(index)
        if when == "searched":
            gpu.fails_with = failure
        assert await share_found(index, flat, texts(5)) == 1.0
        assert (index.place.device, index.recall) == ("cpu", 1.0)
        assert "illegal memory access" in index.place.reason
        await index.close()
        assert (len(gpu.alive), gpu.freed_beside_captures) == (0, 0)

    run(test)


@pytest.mark.parametrize("n_steps", [0, 2, 8, 15, 20, 24, 100])
def test_lists_that_are_half_made_when_their_index_closes_are_not_freed_where_a_capture_could_run(
    gpu: FakeFaissGpu, n_steps: int
) -> None:
    async def test() -> None:
        index = FaissGpuIndex(
            DIM, index_thread(), FaissGpu(), 4 * DIM * BLOCK_ROWS, ivf=IvfPlan(min_rows=1_000), min_rows=100
        )
        # All are queued at once, and each step of the copy goes behind those that wait.
        await asyncio.gather(
            index.apply((), list(range(N_ROWS)), images(N_ROWS)),
            *(index.search(CENTRES[0], 0, None) for _ in range(2)),
        )
        for _ in range(n_steps):
            await index.search(CENTRES[0], 0, None)
        await index.close()
        assert (len(gpu.alive), gpu.freed_beside_captures) == (0, 0)

    run(test)
