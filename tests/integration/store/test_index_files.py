"""The files of an index are a cache: read when they are whole, brought up to date, else made again."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from diptych.adapters.faiss.cpu_index import Approximation, FaissCpuIndex
from diptych.adapters.faiss.threads import IndexThreads, training_thread
from diptych.adapters.files.index_files import IndexFiles
from diptych.adapters.files.quota import Quota
from diptych.errors import NotReady, StoreFull
from support.clumped_rows import DIM, HeldTexts, clumped, queries, texts

N = 3_000
KEYS = np.arange(1, 1 + N)
NAME, TITLE = "1_a", "the index of collection pets"


def new_index(files: IndexFiles) -> FaissCpuIndex:
    lists = Approximation(training_thread(), files, min_rows=1_000, max_compared=100, chunk_rows=1_000)
    return FaissCpuIndex(DIM, IndexThreads(2), lists=lists)


def files_in(folder: Path, quota: Quota | None = None, free_bytes: int = 10**9) -> IndexFiles:
    def require(n_bytes: int) -> None:
        if n_bytes > free_bytes:
            raise StoreFull(f"{n_bytes} bytes are needed, {free_bytes} are free")

    return IndexFiles(folder, quota or Quota(), require)


async def saved(files: IndexFiles, rows: np.ndarray, change: int = 7) -> FaissCpuIndex:
    """An index that is trained and written."""
    index = new_index(files)
    await index.apply((), KEYS.tolist(), rows)
    await index.train(NAME, texts(), TITLE)
    assert index.needs_saving
    await index.save(NAME, change)
    assert not index.needs_saving
    return index


async def answers(index: FaissCpuIndex) -> list[tuple[list[int], list[float]]]:
    found = [await index.search(query, 30, None) for query in queries(10)]
    return [(keys.tolist(), cosines.tolist()) for keys, cosines in found]


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def row_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.rows")}


def n_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def damage_one(folder: Path, suffix: str, damage: Callable[[Path], None]) -> bool:
    """Damage the file that ends so. Returns whether an index has files that cannot be used then."""
    (path,) = folder.glob(f"*{suffix}")
    damage(path)
    return path.exists() or suffix == ".rows"


def test_index_is_read_back_and_answers_as_before(tmp_path: Path) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path / "index"), clumped(N))
        await index.apply([5], [9_001], queries(1, seed=4))
        before, said = await answers(index), (index.placement, index.recall)
        await index.save(NAME, 8)
        await index.close()
        again = new_index(files_in(tmp_path / "index"))
        restored = await again.restore(NAME, 9)
        assert restored.change == 8
        assert sorted(restored.keys.tolist()) == [*(KEYS[KEYS != 5]).tolist(), 9_001]
        assert await answers(again) == before
        assert (again.placement, again.recall) == said
        assert not again.needs_training
        await again.apply([6], [5], queries(1, seed=2))
        assert (await again.search(queries(1, seed=2)[0], 1, None))[0].tolist() == [5]
        await again.close()

    asyncio.run(run())


def test_rows_that_were_added_after_the_last_save_are_not_in_it(tmp_path: Path) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path), clumped(N))
        before = await answers(index)
        more = clumped(500, seed=3)
        await index.apply((), range(10_000, 10_500), more)
        assert index.needs_saving
        await index.close()
        again = new_index(files_in(tmp_path))
        assert len((await again.restore(NAME, 9)).keys) == N
        assert await answers(again) == before
        await again.apply((), range(10_000, 10_500), more)
        assert (await again.search(more[3], 1, None))[0].tolist() == [10_003]
        await again.close()

    asyncio.run(run())


def test_changes_and_searches_go_on_while_the_index_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), faiss.write_index

    def held(*args: object) -> None:
        begun.set()
        assert go_on.wait(30), "a change waits for it"
        write(*args)

    async def run() -> None:
        index, row = await saved(files_in(tmp_path), clumped(N)), queries(1, seed=4)
        before = await answers(index)
        monkeypatch.setattr(faiss, "write_index", held)
        saving = asyncio.create_task(index.save(NAME, 8))
        assert await asyncio.to_thread(begun.wait, 30)
        await index.apply([], [9_001], row)
        assert (await index.search(row[0], 1, None))[0].tolist() == [9_001]
        go_on.set()
        await saving
        await index.close()
        again = new_index(files_in(tmp_path))
        assert len((await again.restore(NAME, 9)).keys) == N
        assert await answers(again) == before
        await again.close()

    asyncio.run(run())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink()])
@pytest.mark.parametrize("suffix", [".ivf", ".rows"])
def test_damaged_or_missing_files_are_removed_and_the_index_begins_empty(
    tmp_path: Path, damage: Callable[[Path], None], suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        await (await saved(files_in(tmp_path), clumped(N))).close()
        is_told = damage_one(tmp_path, suffix, damage)
        again = new_index(files_in(tmp_path))
        restored = await again.restore(NAME, 9)
        assert (restored.change, len(restored.keys)) == (0, 0)
        assert again.placement.kind == "flat"
        assert ("its file cannot be used, it is made again" in caplog.text) == is_told
        await again.apply((), KEYS.tolist(), clumped(N))
        await again.train(NAME, texts())
        await again.save(NAME, 9)
        assert names(tmp_path) == [".ivf", ".rows"]
        await again.close()

    asyncio.run(run())


@pytest.mark.parametrize("is_saved", [False, True])
def test_files_that_killed_trainings_left_are_removed(tmp_path: Path, is_saved: bool) -> None:
    async def run() -> None:
        if is_saved:
            await (await saved(files_in(tmp_path), clumped(N))).close()
        own = row_files(tmp_path)
        for left in (f"{NAME}-0123.rows", f"{NAME}-4567.rows", f"{NAME}-89.tmp"):
            (tmp_path / left).write_bytes(b"12345")
        quota = Quota(10_000_000)
        again = new_index(files_in(tmp_path, quota))
        assert len((await again.restore(NAME, 9)).keys) == (N if is_saved else 0)
        assert row_files(tmp_path) == own
        assert names(tmp_path) == ([".ivf", ".rows"] if is_saved else [])
        assert quota.free_bytes == 10_000_000 - n_bytes(tmp_path)
        await again.close()

    asyncio.run(run())


def test_files_of_a_later_change_than_the_last_one_of_the_store_are_of_another_store(tmp_path: Path) -> None:
    async def run() -> None:
        await (await saved(files_in(tmp_path), clumped(N), change=7)).close()
        again = new_index(files_in(tmp_path))
        assert len((await again.restore(NAME, 6)).keys) == 0
        assert names(tmp_path) == []
        await again.close()

    asyncio.run(run())


def test_training_again_replaces_both_files_once_they_are_written(tmp_path: Path) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path), clumped(N))
        former = row_files(tmp_path)
        await index.apply((), range(10_000, 10_000 + N), clumped(N, seed=3))
        await index.train(NAME, texts())
        assert len(names(tmp_path)) == 3, "the former rows are needed until the index is written"
        await index.save(NAME, 9)
        assert names(tmp_path) == [".ivf", ".rows"]
        assert not former & row_files(tmp_path)
        await index.close()

    asyncio.run(run())


def test_index_that_is_closed_while_it_trains_leaves_no_file(tmp_path: Path) -> None:
    async def run() -> None:
        index = new_index(files_in(tmp_path))
        await index.apply((), KEYS.tolist(), clumped(N))
        held = HeldTexts()
        training = asyncio.create_task(index.train(NAME, held))
        assert await asyncio.to_thread(held.asked_for.wait, 30)
        assert names(tmp_path) == [".rows"]
        closing = asyncio.create_task(index.close())
        await asyncio.sleep(0)
        held.go_on.set()
        await closing
        assert isinstance((await asyncio.gather(training, return_exceptions=True))[0], NotReady)
        assert names(tmp_path) == []

    asyncio.run(run())


def test_rows_stay_in_memory_if_the_disk_has_no_room_and_the_index_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        files = files_in(tmp_path, free_bytes=100_000)
        index = new_index(files)
        await index.apply((), KEYS.tolist(), clumped(N))
        await index.train(NAME, texts())
        assert "264000 bytes are needed, 100000 are free" in index.placement.reason
        assert "rows stay in memory" in caplog.text
        assert index.memory_bytes > 4 * DIM * N
        assert not index.needs_saving
        assert names(tmp_path) == []
        await index.close()

    asyncio.run(run())


def test_read_only_index_uses_the_files_and_changes_nothing_in_the_folder(tmp_path: Path) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path), clumped(N))
        before, said, more = await answers(index), index.placement, clumped(2 * N, seed=3)
        await index.close()
        (tmp_path / f"{NAME}-0123.rows").write_bytes(b"of a training that was killed")
        content = contents(tmp_path)
        files = IndexFiles(tmp_path, Quota(), lambda n_bytes: None, read_only=True)
        again, flat = new_index(files), new_index(files)
        assert len((await again.restore(NAME, 9)).keys) == N
        assert (again.placement, await answers(again)) == (said, before)
        await again.apply((), range(10_000, 10_000 + len(more)), more)
        assert (await again.search(more[3], 1, None))[0].tolist() == [10_003]
        assert (await again.search(more[-1], 1, None))[0].tolist() == [9_999 + len(more)]
        assert len((await flat.restore(NAME, 6)).keys) == 0
        await flat.apply((), KEYS.tolist(), clumped(N))
        for one in (again, flat):
            assert not (one.needs_training or one.needs_saving)
            await one.close(forget=True)
        assert contents(tmp_path) == content

    asyncio.run(run())


def test_index_of_which_most_is_deleted_has_no_files(tmp_path: Path) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path), clumped(N))
        await index.apply(KEYS[500:].tolist(), (), np.empty((0, DIM), np.float32))
        await index.train(NAME, texts())
        assert (index.placement.kind, names(tmp_path)) == ("flat", [])
        await index.close()

    asyncio.run(run())


def test_index_that_is_forgotten_leaves_files_of_another_one_of_its_name(tmp_path: Path) -> None:
    async def run() -> None:
        files = files_in(tmp_path)
        former, now = await saved(files, clumped(N)), new_index(files)
        await now.apply((), KEYS.tolist(), clumped(N))
        await now.train(NAME, texts())
        await former.close(forget=True)
        await now.save(NAME, 8)
        assert names(tmp_path) == [".ivf", ".rows"]
        await now.close()
        again = new_index(files)
        assert len((await again.restore(NAME, 9)).keys) == N
        await again.close()

    asyncio.run(run())


def test_mapped_rows_take_no_memory_and_their_bytes_count_against_the_quota(tmp_path: Path) -> None:
    async def run() -> None:
        quota = Quota(10_000_000)
        index = await saved(files_in(tmp_path, quota), clumped(N))
        assert index.memory_bytes < 4 * DIM * N
        assert quota.free_bytes == 10_000_000 - n_bytes(tmp_path)
        await index.close(forget=True)
        assert names(tmp_path) == []
        assert quota.free_bytes == 10_000_000

    asyncio.run(run())


def test_rows_go_on_in_memory_when_the_limit_of_the_data_folder_is_reached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        index = await saved(files_in(tmp_path, Quota(460_000)), clumped(N))
        more = clumped(2_500, seed=3)
        await index.apply((), range(10_000, 12_500), more)
        assert "the index of collection pets: its new rows stay in memory" in caplog.text
        assert "DIPTYCH_MAX_DATA_BYTES" in index.placement.reason
        assert names(tmp_path) == [], "a start could use none of them"
        for place in (0, 999, 2_499):
            assert (await index.search(more[place], 1, None))[0].tolist() == [10_000 + place]
        assert not index.needs_saving
        await index.close()

    asyncio.run(run())


def test_files_of_other_indexes_are_removed(tmp_path: Path) -> None:
    for name in ("1_a.ivf", "1_a-0123.rows", "2_b.ivf", "2_b-4567.rows", "3_c-89.tmp"):
        (tmp_path / name).write_bytes(b"12345")
    quota = Quota(100)
    files = files_in(tmp_path, quota)
    assert quota.free_bytes == 75
    files.keep_only({"1_a"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1_a-0123.rows", "1_a.ivf"]
    assert quota.free_bytes == 90
