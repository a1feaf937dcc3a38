"""The contract of an index: those of the CPU and, over a stand-in, of the GPU."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from diptych.adapters.faiss.cpu_index import FaissCpuIndex
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu
from diptych.adapters.faiss.rows import BLOCK_BYTES
from diptych.adapters.faiss.threads import IndexThreads
from diptych.core.serving.ports import VectorIndex
from support.fake_faiss_gpu import FakeFaissGpu

DIM = 16


@dataclass(frozen=True)
class NewIndex:
    """Makes one of its kind; that of the GPU copies as soon and as often as it can."""

    kind: str

    def __call__(
        self, embed_dim: int, thread: ThreadPoolExecutor, block_bytes: int = BLOCK_BYTES
    ) -> VectorIndex:
        if self.kind == "cpu":
            return FaissCpuIndex(embed_dim, thread, block_bytes)
        return FaissGpuIndex(embed_dim, thread, FaissGpu(), block_bytes, min_rows=1, min_tail=5)


@pytest.fixture(params=["cpu", "gpu"])
def new_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> NewIndex:
    """Of each kind."""
    FakeFaissGpu(noise=0.0).install(monkeypatch)
    return NewIndex(request.param)


def unit_rows(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def exact(keys: np.ndarray, rows: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    cosines = rows @ query
    return keys[np.lexsort((keys, -cosines))][:k].tolist()


ROW_BYTES = 4 * DIM
BLOCKS = pytest.mark.parametrize("block_bytes", [BLOCK_BYTES, 70 * ROW_BYTES])


@BLOCKS
def test_search_is_the_exact_ranking_with_and_without_a_selection(
    new_index: NewIndex, block_bytes: int
) -> None:
    async def run() -> None:
        index, rows = new_index(DIM, IndexThreads(1), block_bytes), unit_rows(500)
        keys = np.arange(1000, 1500)
        await index.apply((), keys.tolist(), rows)
        chosen = keys[::7]
        for query in unit_rows(20, seed=1):
            for k in (1, 10, 120, 499, 500, 1000):
                found, cosines = await index.search(query, k, None)
                assert found.tolist() == exact(keys, rows, query, k)
                assert cosines == pytest.approx(rows[found - 1000] @ query, abs=1e-5)
                found, _ = await index.search(query, k, chosen)
                assert found.tolist() == exact(chosen, rows[::7], query, k)
        assert index.placement.device == {"cpu": "cpu", "gpu": "cuda"}[new_index.kind]
        await index.close()

    asyncio.run(run())


@BLOCKS
def test_equal_cosines_come_in_the_order_of_their_keys_whatever_k_is(
    new_index: NewIndex, block_bytes: int
) -> None:
    async def run() -> None:
        index = new_index(DIM, IndexThreads(1), block_bytes)
        twins = np.repeat(unit_rows(10), 30, axis=0)  # ten vectors, thirty images each
        await index.apply((), list(range(300)), twins)
        query = unit_rows(1, seed=2)[0]
        whole = (await index.search(query, 300, None))[0].tolist()
        for k in (1, 29, 30, 31, 99, 100, 150, 299):
            assert (await index.search(query, k, None))[0].tolist() == whole[:k]
            odd = np.arange(1, 300, 2)
            assert (await index.search(query, k, odd))[0].tolist() == [key for key in whole if key % 2][:k]
        await index.close()

    asyncio.run(run())


def test_removed_keys_are_never_found_and_a_change_is_seen_whole(new_index: NewIndex) -> None:
    async def run() -> None:
        index, rows = new_index(DIM, IndexThreads(1)), unit_rows(3)
        await index.apply((), [1, 2], rows[:2])
        await index.apply([1], [3], rows[2:])
        found, _ = await index.search(rows[0], 10, None)
        assert sorted(found.tolist()) == [2, 3]
        assert (await index.search(rows[0], 10, np.array([1], np.int64)))[0].tolist() == []
        await index.close()

    asyncio.run(run())


def test_rows_that_come_and_go_at_random_are_ranked_exactly_whatever_block_they_are_in(
    new_index: NewIndex,
) -> None:
    async def run() -> None:
        index, rng = new_index(DIM, IndexThreads(1), 10 * ROW_BYTES), np.random.default_rng(3)
        kept: dict[int, np.ndarray] = {}
        fresh = iter(rng.permutation(2_000).tolist())
        for step in range(60):
            gone = [key for key in kept if rng.random() < 0.3]
            keys = [next(fresh) for _ in range(rng.integers(0, 25))]
            rows = unit_rows(len(keys), seed=step)
            await index.apply(gone, keys, rows)
            kept = {key: row for key, row in kept.items() if key not in gone} | dict(
                zip(keys, rows, strict=True)
            )
            query = unit_rows(1, seed=1_000 + step)[0]
            found, _ = await index.search(query, 12, None)
            if kept:
                truth = exact(np.array(list(kept)), np.stack(list(kept.values())), query, 12)
                assert found.tolist() == truth
            else:
                assert found.tolist() == []
        await index.apply(list(kept), [], np.empty((0, DIM), np.float32))
        assert (await index.search(query, 12, None))[0].tolist() == []
        await index.close()

    asyncio.run(run())


def test_searches_during_adds_see_only_whole_changes(new_index: NewIndex) -> None:
    async def run() -> None:
        index, rows = new_index(DIM, IndexThreads(1)), unit_rows(2000)
        await index.apply((), [0], rows[:1])

        async def add() -> None:
            for start in range(1, 2000, 40):
                block = slice(start, min(start + 40, 2000))
                await index.apply((), list(range(2000))[block], rows[block])

        async def search() -> None:
            for _ in range(200):
                found, cosines = await index.search(rows[0], 3, None)
                assert found[0] == 0
                assert cosines[0] == pytest.approx(1, abs=1e-5)
                assert len(found) in (1, 3)

        await asyncio.gather(add(), search(), search())
        await index.close()

    asyncio.run(run())
