"""An index that has been trained finds nearly all of the nearest rows, and never two different rankings."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from diptych.adapters.faiss import cpu_index
from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads, training_thread
from support.clumped_rows import DIM, HeldTexts, clumped, exact, queries, texts, unit

N = 4_000
KEYS = np.arange(1_000, 1_000 + N)
NONE = np.empty((0, DIM), np.float32)


def new_index(*, max_compared: int = 100) -> FaissCpuIndex:
    lists = Approximation(training_thread(), min_rows=1_000, max_compared=max_compared, chunk_rows=1_500)
    return FaissCpuIndex(DIM, IndexThreads(2), lists=lists)


async def trained(rows: np.ndarray, keys: np.ndarray = KEYS, **options: int) -> FaissCpuIndex:
    index = new_index(**options)
    await index.apply((), keys.tolist(), rows)
    assert index.needs_training
    await index.train("1_a", texts())
    assert not index.needs_training
    return index


def with_index(
    work: Callable[[FaissCpuIndex], Awaitable[None]],
    rows: np.ndarray,
    keys: np.ndarray = KEYS,
    **options: int,
) -> None:
    async def run() -> None:
        index = await trained(rows, keys, **options)
        await work(index)
        await index.close()

    asyncio.run(run())


async def share_found(
    index: FaissCpuIndex,
    keys: np.ndarray,
    rows: np.ndarray,
    asked: np.ndarray,
    allowed: np.ndarray | None = None,
) -> float:
    """The share of the ten nearest rows that searches find."""
    shares = list[float]()
    for query in asked:
        found, cosines = await index.search(query, 10, allowed)
        places = np.flatnonzero(np.isin(keys, keys if allowed is None else allowed))
        least = np.sort(rows[places] @ query)[-10]
        assert np.isin(found, keys[places]).all()
        assert len(found) == 10
        shares.append(float(np.mean(cosines >= least - 1e-5)))
    return float(np.mean(shares))


def test_small_collection_is_compared_whole_and_a_large_one_by_lists_that_find_what_they_say() -> None:
    rows = clumped(N)

    async def work(index: FaissCpuIndex) -> None:
        assert index.placement.kind == "ivf"
        assert "of 253 lists are searched" in index.placement.reason
        recall = index.recall
        assert min(recall.names, recall.nouns) >= 0.99
        assert recall.lowest == min(recall.names, recall.nouns, recall.images)
        assert await share_found(index, KEYS, rows, queries(40)) >= 0.98
        n_probed = int(index.placement.reason.split()[0])
        assert n_probed < 200

    async def small() -> None:
        index = new_index()
        await index.apply((), [1, 2], rows[:2])
        assert (index.placement.kind, index.needs_training) == ("flat", False)
        assert index.recall.lowest == 1.0
        await index.close()

    asyncio.run(small())
    with_index(work, rows)


def test_exact_search_compares_all_rows() -> None:
    rows = clumped(N)

    async def work(index: FaissCpuIndex) -> None:
        for query in queries(20):
            found, cosines = await index.search(query, 50, None, exact=True)
            assert found.tolist() == exact(KEYS, rows, query, 50)
            assert cosines == pytest.approx(rows[found - 1_000] @ query, abs=1e-5)

    with_index(work, rows)


@pytest.mark.parametrize("allowed", [None, KEYS[::3]])
def test_pages_of_one_search_never_overlap_and_have_every_row(allowed: np.ndarray | None) -> None:
    rows = clumped(N)

    async def work(index: FaissCpuIndex) -> None:
        for query in queries(3):
            whole, cosines = await index.search(query, N, allowed)
            assert np.sort(whole).tolist() == (KEYS if allowed is None else allowed).tolist()
            assert cosines == pytest.approx(rows[whole - 1_000] @ query, abs=1e-5)
            for k in (1, 10, 99, 100, 101, 299, 301, 650, 999, 1_001, 1_200):
                found, _ = await index.search(query, k, allowed)
                assert found.tolist() == whole[:k].tolist()

    with_index(work, rows)


def test_equal_rows_come_in_the_order_of_their_keys_and_none_is_missed() -> None:
    rows = clumped(N)
    rows[500:3_800] = rows[500]

    async def work(index: FaissCpuIndex) -> None:
        for k in (10, 150, 1_100, 3_300):
            found, cosines = await index.search(rows[500], k, None)
            assert found.tolist() == KEYS[500 : 500 + k].tolist()
            assert set(cosines.tolist()) == {cosines[0]}

    with_index(work, rows)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("is_one_sided", [False, True])
def test_filter_never_loses_the_nearest_silently(share: float, is_one_sided: bool) -> None:
    rows, random = clumped(N), np.random.default_rng(3)
    order = (
        np.argsort(rows @ unit(random.standard_normal((1, DIM)))[0])
        if is_one_sided
        else random.permutation(N)
    )
    allowed = np.sort(KEYS[order[: int(share * N)]])

    async def work(index: FaissCpuIndex) -> None:
        assert await share_found(index, KEYS, rows, queries(30), allowed) >= 0.98

    with_index(work, rows)


def test_few_allowed_rows_are_all_compared() -> None:
    rows, allowed = clumped(N), np.sort(np.random.default_rng(4).permutation(KEYS)[:90])

    async def work(index: FaissCpuIndex) -> None:
        for query in queries(10):
            found, _ = await index.search(query, 90, np.append(allowed, 10**9))
            assert found.tolist() == exact(allowed, rows[allowed - 1_000], query, 90)

    with_index(work, rows)


def test_two_indexes_over_the_same_rows_answer_alike() -> None:
    rows, order = clumped(N), np.random.default_rng(5).permutation(N)

    async def run() -> None:
        one, other = await trained(rows), await trained(rows[order], KEYS[order])
        assert one.placement == other.placement
        assert one.recall == other.recall
        for query in queries(20):
            found, cosines = await one.search(query, 120, None)
            again, same = await other.search(query, 120, None)
            assert (found.tolist(), cosines.tolist()) == (again.tolist(), same.tolist())
        await one.close()
        await other.close()

    asyncio.run(run())


def test_other_rows_make_it_train_again_and_recall_comes_back() -> None:
    rows = clumped(N)
    others = clumped(N // 3, seed=9, n_clumps=1)
    n_gone = len(others)

    async def work(index: FaissCpuIndex) -> None:
        await index.apply(KEYS[:n_gone].tolist(), (KEYS[-1] + 1 + np.arange(n_gone)).tolist(), others)
        keys = np.concatenate([KEYS[n_gone:], KEYS[-1] + 1 + np.arange(n_gone)])
        now = np.concatenate([rows[n_gone:], others])
        assert index.needs_training
        await index.train("1_a", texts())
        assert not index.needs_training
        assert index.recall.lowest >= 0.99
        assert await share_found(index, keys, now, queries(30)) >= 0.98

    with_index(work, rows)


def test_index_of_which_most_is_deleted_finds_the_rest_and_is_compared_whole_again() -> None:
    rows = clumped(N)
    kept = N // 10

    async def work(index: FaissCpuIndex) -> None:
        for start in range(kept, N, 500):
            await index.apply(KEYS[start : start + 500].tolist(), (), NONE)
        assert await share_found(index, KEYS[:kept], rows[:kept], queries(20)) >= 0.98
        assert index.needs_training
        await index.train("1_a", texts())
        assert (index.placement.kind, index.needs_training) == ("flat", False)
        for query in queries(10):
            assert (await index.search(query, 20, None))[0].tolist() == exact(
                KEYS[:kept], rows[:kept], query, 20
            )

    with_index(work, rows)


def test_collection_whose_size_goes_up_and_down_about_the_threshold_keeps_its_index() -> None:
    rows = clumped(1_000)
    keys = np.arange(1_000)

    async def work(index: FaissCpuIndex) -> None:
        await index.apply(keys[:150].tolist(), (), NONE)
        assert not index.needs_training
        await index.train("1_a", texts())
        assert (index.placement.kind, index.needs_training) == ("ivf", False)
        await index.apply(keys[150:210].tolist(), (), NONE)
        await index.train("1_a", texts())
        assert (index.placement.kind, index.needs_training) == ("flat", False)
        await index.apply((), keys[:200].tolist(), rows[:200])
        assert not index.needs_training, "it has fewer rows than an index is made of"

    with_index(work, rows, keys)


def test_twice_the_rows_make_it_train_again() -> None:
    rows = clumped(2 * N)

    async def work(index: FaissCpuIndex) -> None:
        await index.apply((), range(10_000, 10_000 + N - 1), rows[N:-1])
        assert not index.needs_training
        await index.apply((), [99_999], rows[-1:])
        assert index.needs_training

    with_index(work, rows[:N])


def test_searches_beside_changes_and_training_see_only_whole_changes() -> None:
    rows, more = clumped(N), clumped(2_000, seed=8)

    async def run() -> None:
        index = new_index()
        await index.apply((), KEYS.tolist(), rows)
        extra = np.arange(50_000, 52_000)

        async def change() -> None:
            for start in range(0, 2_000, 50):
                await index.apply(
                    KEYS[start : start + 50].tolist(),
                    extra[start : start + 50].tolist(),
                    more[start : start + 50],
                )

        async def search() -> None:
            for n in range(150):
                row = rows[3_000 + 6 * n]
                found, cosines = await index.search(row, 5, None)
                assert found[0] == KEYS[3_000 + 6 * n]
                assert cosines[0] == pytest.approx(1, abs=1e-5)
                assert (np.diff(cosines) <= 0).all()

        training = asyncio.create_task(index.train("1_a", texts()))
        await asyncio.gather(change(), search(), search())
        await training
        assert index.placement.kind == "ivf"
        keys, now = np.concatenate([KEYS[2_000:], extra]), np.concatenate([rows[2_000:], more])
        for query in queries(10):
            found, _ = await index.search(query, 100, None, exact=True)
            assert found.tolist() == exact(keys, now, query, 100)
        await index.close()

    asyncio.run(run())


def test_training_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu_index, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(cpu_index, "FILL_ROWS", 1_000)
    caplog.set_level("INFO", "diptych.index")

    async def run() -> None:
        await (await trained(clumped(N))).close()

    asyncio.run(run())
    said = re.sub(r"\d+ s in all", "0 s in all", caplog.text)
    for step in ("lists are trained", "3,000 of 4,000 rows are in it", "recall is measured"):
        assert f"an index: {step}, for 0 s in all so far" in said


def test_removed_and_added_keys_are_found_at_once() -> None:
    keys = (7, 8)
    rows, others = clumped(N), queries(2, seed=11)

    async def work(index: FaissCpuIndex) -> None:
        await index.apply([int(KEYS[3])], list(keys), others)
        assert (await index.search(others[1], 1, None))[0].tolist() == [8]
        assert KEYS[3] not in (await index.search(rows[3], 10, None))[0]
        await index.apply([8], [8], others[:1])
        found, cosines = await index.search(others[0], 2, None)
        assert sorted(found.tolist()) == [7, 8]
        assert cosines == pytest.approx([1, 1], abs=1e-5)

    with_index(work, rows)


def test_changes_while_it_trains_are_in_the_index_that_is_used_then() -> None:
    rows, others = clumped(N), queries(30, seed=12)

    async def run() -> None:
        index, held = new_index(), HeldTexts()
        await index.apply((), KEYS.tolist(), rows)
        training = asyncio.create_task(index.train("1_a", held))
        assert await asyncio.to_thread(held.asked_for.wait, 30)
        for n, row in enumerate(others):
            await index.apply([int(KEYS[n])], [n], row[np.newaxis])
        await index.apply([0], [], NONE)
        held.go_on.set()
        await training
        assert index.placement.kind == "ivf"
        keys, now = np.concatenate([np.arange(1, 30), KEYS[30:]]), np.concatenate([others[1:], rows[30:]])
        for query in (others[0], others[5], rows[0], rows[40]):
            found, _ = await index.search(query, 100, None, exact=True)
            assert found.tolist() == exact(keys, now, query, 100)
        await index.close()

    asyncio.run(run())


def test_many_hits_are_nearly_all_of_the_nearest_too() -> None:
    rows = clumped(N)

    async def work(index: FaissCpuIndex) -> None:
        for k in (100, 300, 900):
            shares = list[float]()
            for query in queries(20):
                found, _ = await index.search(query, k, None)
                shares.append(len({*found.tolist()} & {*exact(KEYS, rows, query, k)}) / k)
            assert np.mean(shares) >= 0.95

    with_index(work, rows)
