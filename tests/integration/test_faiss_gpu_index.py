"""What the index on a GPU does beyond the contract of all: when it asks the GPU, and when no longer."""

import asyncio
import logging
from collections.abc import Callable

import numpy as np
import pytest

from diptych.adapters.faiss_gpu import FaissGpu
from diptych.adapters.faiss_gpu_certain import SPARE
from diptych.adapters.faiss_gpu_index import FaissGpuIndex
from diptych.adapters.faiss_index import FaissFlatIndex, index_thread
from diptych.core.types import IndexPlace
from support.fake_faiss_gpu import FakeFaissGpu

DIM = 16
NO_ROWS = np.empty((0, DIM), np.float32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeFaissGpu:
    return FakeFaissGpu().install(monkeypatch)


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def filled(
    n_rows: int, *, block_rows: int = 1_000, min_rows: int = 100, min_tail: int = 10_000
) -> FaissGpuIndex:
    index = FaissGpuIndex(
        DIM, index_thread(), FaissGpu(), 4 * DIM * block_rows, min_rows=min_rows, min_tail=min_tail
    )
    await index.apply((), list(range(n_rows)), unit_rows(n_rows))
    await copied(index)
    return index


async def copied(index: FaissGpuIndex) -> None:
    """Until no copy is being made."""
    for _ in range(200):
        await index.search(unit_rows(1)[0], 0, None)
        if index._copying is None:
            return
    raise AssertionError("the copy does not end")


async def agrees(index: FaissGpuIndex, flat: FaissFlatIndex, k: int = 10) -> None:
    for query in unit_rows(5, seed=9):
        (keys, cosines), (true_keys, true_cosines) = (
            await index.search(query, k, None),
            await flat.search(query, k, None),
        )
        assert keys.tolist() == true_keys.tolist()
        assert cosines.tobytes() == true_cosines.tobytes()


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_few_rows_never_reach_the_gpu(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(99)
        await index.search(unit_rows(1)[0], 3, None)
        assert (gpu.n_rows, index.place.device) == ([], "cpu")
        assert "fewer than 100 rows" in index.place.reason

    run(test)


def test_hits_and_cosines_are_bit_for_bit_those_of_the_cpu(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(2_500), FaissFlatIndex(DIM, index_thread())
        await flat.apply((), list(range(2_500)), unit_rows(2_500))
        assert index.place == IndexPlace("cuda", "2,500 rows are copied onto the GPU")
        await agrees(index, flat)
        assert gpu.n_searches == 5
        fresh = unit_rows(300, seed=4)
        for one in (index, flat):
            await one.apply(list(range(0, 300, 2)), list(range(3_000, 3_300)), fresh)
        await agrees(index, flat)
        assert len(gpu.n_rows) == 1, "the copy is never changed, and a short tail makes no other"
        assert gpu.threads == {next(iter(gpu.threads))}

    run(test)


def test_a_filtered_search_is_the_cpus(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(500)
        found, _ = await index.search(unit_rows(1)[0], 3, np.array([3, 4], np.int64))
        assert (sorted(found.tolist()), gpu.n_searches) == ([3, 4], 0)

    run(test)


def test_more_equal_rows_than_the_gpu_gives_are_asked_of_the_cpu(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), min_rows=100)
        twins = np.repeat(unit_rows(1), 5_000, axis=0)
        await index.apply((), list(range(5_000)), twins)
        await copied(index)
        found, _ = await index.search(twins[0], 7, None)
        assert found.tolist() == list(range(7))
        assert gpu.asked == [7 + SPARE, 4 * (7 + SPARE), 16 * (7 + SPARE)]

    run(test)


def test_more_hits_than_the_gpu_gives_are_the_cpus(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(2_500)
        found, _ = await index.search(unit_rows(1)[0], 2_400, None)
        assert (len(found), gpu.n_searches) == (2_400, 0)

    run(test)


def test_a_long_tail_and_many_removals_each_make_a_new_copy(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = await filled(1_000, min_tail=50)
        await index.apply((), list(range(2_000, 2_200)), unit_rows(200, seed=2))
        await copied(index)
        assert gpu.n_rows == [1_000, 1_200]
        await index.apply(list(range(300)), (), NO_ROWS)
        await copied(index)
        assert gpu.n_rows == [1_000, 1_200, 900]

    run(test)


def test_what_changes_while_a_copy_is_made_is_found_as_it_is(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), 4 * DIM * 100, min_rows=100)
        flat = FaissFlatIndex(DIM, index_thread())
        rows, others = unit_rows(1_000), unit_rows(1_000, seed=3)
        # Not awaited in between: the first begins a copy, of ten blocks, and the rest come while it is made.
        changes = [((), list(range(1_000)), rows)]
        changes += [
            ([key], [key], others[key : key + 1]) for key in range(5, 1_000, 50)
        ]  # under the same key
        changes += [(list(range(n, n + 3)), (), NO_ROWS) for n in range(20, 1_000, 100)]
        changes += [((), [5_000 + n], others[n : n + 1]) for n in range(20)]
        for one in (index, flat):
            await asyncio.gather(*(one.apply(*change) for change in changes))
        await copied(index)
        await agrees(index, flat)
        assert gpu.n_searches == 5
        assert index.place.device == "cuda"
        n_rows, tail = index._rows.n_rows, index._tail.n_rows
        assert n_rows == 1_000 - 30 + 20 == index._sealed.n_rows - index._sealed.n_dead + tail

    run(test)


def test_a_gpu_without_room_for_two_copies_lets_the_old_one_go_first(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        gpu.max_rows = 1_500
        index, flat = await filled(1_000, block_rows=100, min_tail=50), FaissFlatIndex(DIM, index_thread())
        await flat.apply((), list(range(1_000)), unit_rows(1_000))
        for one in (index, flat):
            await one.apply([3], list(range(2_000, 2_200)), unit_rows(200, seed=2))
        await copied(index)
        await agrees(index, flat)
        assert (gpu.n_rows, index.place.device) == ([1_000, 500, 1_199], "cuda")
        assert [one.ntotal for one in gpu.alive] == [1_199]

    run(test)


@pytest.mark.parametrize("when", ["copied", "searched"])
def test_a_gpu_that_fails_is_left_for_the_cpu_with_its_reason(
    gpu: FakeFaissGpu, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    async def test() -> None:
        gpu.max_rows = 1_500 if when == "copied" else None
        index, flat = await filled(2_000), FaissFlatIndex(DIM, index_thread())
        await flat.apply((), list(range(2_000)), unit_rows(2_000))
        if when == "searched":
            gpu.fails_with = RuntimeError("CUDA error 700 an illegal memory access")
        await agrees(index, flat)
        assert index.place.device == "cpu"
        assert ("out of memory" if when == "copied" else "illegal memory access") in index.place.reason
        await index.apply((), [7_000], unit_rows(1, seed=8))
        assert len(gpu.n_rows) == 1, "it is not tried again"

    with caplog.at_level(logging.WARNING, "diptych.index"):
        run(test)
    how_long = "for 10 minutes at least" if when == "copied" else "from now on"
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        f"an index is searched on the CPU {how_long}"
    ]


@pytest.mark.parametrize("when", ["searched", "changed"])
def test_a_gpu_without_room_is_asked_again_after_ten_minutes(gpu: FakeFaissGpu, when: str) -> None:
    async def test() -> None:
        now, gpu.max_rows = [0.0], 1_500
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), min_rows=100, clock=lambda: now[0])
        await index.apply((), list(range(2_000)), unit_rows(2_000))
        await copied(index)
        assert "out of memory" in index.place.reason
        for now[0], gpu.max_rows, device in ((599, None, "cpu"), (600, 1_500, "cpu"), (1_200, None, "cuda")):
            if when == "changed":
                await index.apply([0], [0], unit_rows(1))
            await copied(index)
            assert index.place.device == device
        assert len(gpu.n_rows) == 3
        flat = FaissFlatIndex(DIM, index_thread())
        await flat.apply((), list(range(2_000)), unit_rows(2_000))
        if when == "searched":
            await agrees(index, flat)

    run(test)


def test_a_gpu_that_computes_wrongly_is_caught_by_the_search_itself(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index, flat = await filled(2_000), FaissFlatIndex(DIM, index_thread())
        await flat.apply((), list(range(2_000)), unit_rows(2_000))
        gpu.noise = 1e-3
        await agrees(index, flat)
        assert "a cosine is off by" in index.place.reason

    run(test)


@pytest.mark.parametrize("when", ["replaced", "no room for two", "no room for one", "searched", "closed"])
def test_no_copy_is_freed_where_a_capture_could_run(gpu: FakeFaissGpu, when: str) -> None:
    async def test() -> None:
        gpu.max_rows = {"no room for two": 1_500, "no room for one": 500}.get(when)
        index = await filled(1_000, block_rows=100, min_tail=50)
        if when in {"replaced", "no room for two"}:
            await index.apply((), list(range(2_000, 2_200)), unit_rows(200, seed=2))
            await copied(index)
        if when == "searched":
            gpu.fails_with = RuntimeError("CUDA error 700 an illegal memory access")
            await index.search(unit_rows(1)[0], 3, None)
        if when == "closed":
            await index.close()
        assert (gpu.n_freed, gpu.freed_beside_captures) == ({"no room for two": 2}.get(when, 1), 0)

    run(test)


def test_a_copy_that_is_half_made_when_its_index_closes_is_not_freed_where_a_capture_could_run(
    gpu: FakeFaissGpu,
) -> None:
    async def test() -> None:
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), 4 * DIM * 10, min_rows=100)
        await asyncio.gather(
            index.apply((), list(range(500)), unit_rows(500)),
            index.search(unit_rows(1)[0], 0, None),
            index.search(unit_rows(1)[0], 0, None),
        )
        await index.search(unit_rows(1)[0], 0, None)
        await index.close()
        assert (gpu.n_freed, gpu.freed_beside_captures) == (1, 0)

    run(test)


def test_a_closed_index_stops_copying(gpu: FakeFaissGpu) -> None:
    async def test() -> None:
        index = FaissGpuIndex(DIM, index_thread(), FaissGpu(), 4 * DIM * 10, min_rows=100)
        await asyncio.gather(index.apply((), list(range(500)), unit_rows(500)), index.close())
        await copied(index)
        assert (index._sealed, index._rows.n_rows) == (None, 0)

    run(test)
