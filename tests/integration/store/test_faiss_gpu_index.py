"""What the index on a GPU does beyond the contract of all: when it asks the GPU, and when no longer."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import pytest

from diptych.adapters.faiss.cpu_index import FaissCpuIndex
from diptych.adapters.faiss.gpu_index import SPARE, FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu
from diptych.adapters.faiss.threads import IndexThreads
from diptych.core.types import IndexPlacement
from support.fake_faiss_gpu import FakeFaissGpu

DIM = 16
NO_ROWS = np.empty((0, DIM), np.float32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeFaissGpu:
    return FakeFaissGpu().install(monkeypatch)


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def new_index(
    *, block_rows: int = 1_000, min_tail: int = 10_000, clock: Callable[[], float] = lambda: 0.0
) -> FaissGpuIndex:
    return FaissGpuIndex(
        DIM, IndexThreads(1), FaissGpu(), 4 * DIM * block_rows, min_rows=100, min_tail=min_tail, clock=clock
    )


async def filled(index: FaissGpuIndex, n_rows: int) -> FaissCpuIndex:
    """And an index of the CPU with the same rows."""
    flat = FaissCpuIndex(DIM, IndexThreads(1))
    for one in (index, flat):
        await one.apply((), list(range(n_rows)), unit_rows(n_rows))
    await settled(index)
    return flat


async def settled(index: FaissGpuIndex) -> None:
    """Until a copy that was begun is made: each call lets a block in."""
    for _ in range(50):
        await index.search(unit_rows(1)[0], 0, None)


async def agrees(index: FaissGpuIndex, flat: FaissCpuIndex, k: int = 10) -> None:
    for query in unit_rows(5, seed=9):
        keys, cosines = await index.search(query, k, None)
        true_keys, true_cosines = await flat.search(query, k, None)
        assert keys.tolist() == true_keys.tolist()
        np.testing.assert_allclose(cosines, true_cosines, atol=1e-6)


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_hits_are_those_of_the_cpu_with_rows_that_came_and_went_since_the_copy(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = new_index()
        flat = await filled(index, 2_500)
        assert index.placement == IndexPlacement("cuda", "2,500 rows are copied onto the GPU")
        await agrees(index, flat)
        for one in (index, flat):
            await one.apply(list(range(0, 300, 2)), list(range(3_000, 3_300)), unit_rows(300, seed=4))
        await agrees(index, flat)
        assert len(gpu.asked) == 10
        assert len(gpu.n_rows) == 1, "a short tail makes no other copy"
        assert len(gpu.threads) == 1

    run(test)


def test_filtered_and_exact_searches_are_the_cpus(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = new_index()
        flat = await filled(index, 500)
        found, _ = await index.search(unit_rows(1)[0], 3, np.array([3, 4], np.int64))
        assert sorted(found.tolist()) == [3, 4]
        exact, expected = (
            await index.search(unit_rows(1)[0], 9, None, exact=True),
            await flat.search(unit_rows(1)[0], 9, None),
        )
        assert exact[1].tobytes() == expected[1].tobytes()
        assert gpu.asked == []

    run(test)


def test_the_nearest_that_were_removed_are_passed_over_by_asking_for_more(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = new_index()
        flat = await filled(index, 3_000)
        query = unit_rows(5, seed=9)[0]
        nearest, _ = await flat.search(query, 200, None)
        for one in (index, flat):
            await one.apply(nearest.tolist(), (), NO_ROWS)
        await agrees(index, flat)
        assert gpu.asked[:2] == [10 + SPARE, 4 * (10 + SPARE)]

    run(test)


def test_a_long_tail_and_many_removals_each_make_a_new_copy(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = new_index(min_tail=50)
        await filled(index, 1_000)
        await index.apply((), list(range(2_000, 2_200)), unit_rows(200, seed=2))
        await settled(index)
        assert gpu.n_rows == [1_000, 1_200]
        await index.apply(list(range(300)), (), NO_ROWS)
        await settled(index)
        assert gpu.n_rows == [1_000, 1_200, 900]
        assert [one.ntotal for one in gpu.alive] == [900]

    run(test)


def test_what_changes_while_a_copy_is_made_is_found_as_it_is(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        gpu.noise = 0.0  # or all 990 would not be in one order
        index, flat = new_index(block_rows=10), FaissCpuIndex(DIM, IndexThreads(1))
        rows, others = unit_rows(1_000), unit_rows(1_000, seed=3)
        # The first begins a copy, of a hundred blocks, and the rest come while it is made.
        changes = [((), list(range(1_000)), rows)]
        changes += [
            ([key], [key], others[key : key + 1]) for key in range(5, 1_000, 50)
        ]  # under the same key
        changes += [(list(range(n, n + 3)), (), NO_ROWS) for n in range(20, 1_000, 100)]
        changes += [((), [5_000 + n], others[n : n + 1]) for n in range(20)]
        for change in changes:
            await index.apply(*change)
            await flat.apply(*change)
        await settled(index)
        for k in (10, 990):  # of 990
            await agrees(index, flat, k)
        assert (len(gpu.n_rows), index.placement.device) == (1, "cuda")

    run(test)


@pytest.mark.parametrize("when", ["copied", "searched"])
def test_a_gpu_that_fails_is_left_for_the_cpu_with_its_reason(
    gpu: FakeFaissGpu, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    async def test() -> None:
        index = new_index()
        failure = RuntimeError("CUDA error 700 an illegal memory access")
        gpu.fails_with = failure if when == "copied" else None
        flat = await filled(index, 2_000)
        gpu.fails_with = failure
        await agrees(index, flat)
        assert index.placement.device == "cpu"
        assert "illegal memory access" in index.placement.reason
        gpu.fails_with = None
        await index.apply((), [7_000], unit_rows(1, seed=8))
        await settled(index)
        assert (len(gpu.alive), index.placement.device) == (0, "cpu"), "it is not tried again"

    with caplog.at_level(logging.WARNING, "diptych.index"):
        run(test)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "an index is searched on the CPU from now on"
    ]


def test_a_gpu_without_room_is_asked_again_after_ten_minutes(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        now, gpu.max_rows = [0.0], 1_500
        index = new_index(clock=lambda: now[0])
        flat = await filled(index, 2_000)
        assert "out of memory" in index.placement.reason
        for now[0], gpu.max_rows, device in ((599, None, "cpu"), (600, 1_500, "cpu"), (1_200, None, "cuda")):
            await settled(index)
            assert index.placement.device == device
        assert len(gpu.n_rows) == 3
        await agrees(index, flat)

    run(test)


def test_a_closed_index_gives_the_memory_back_and_stops_copying(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = new_index(block_rows=10)
        await asyncio.gather(index.apply((), list(range(500)), unit_rows(500)), index.close())
        await settled(index)
        assert (len(gpu.alive), index.placement.device) == (0, "cpu")
        assert (await index.search(unit_rows(1)[0], 3, None))[0].tolist() == []

    run(test)
