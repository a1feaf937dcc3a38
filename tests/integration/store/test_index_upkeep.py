"""Large collections get a trained index in the background, which the next start reads."""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from diptych.adapters.faiss import cpu_index
from diptych.core.types import CollectionChange
from integration.large_indexes import N, add_rows, index_files, opened, require_found, until_saved
from integration.store_parts import Opened
from support.fixtures import model_repo_fixture
from unit.core.core_fakes import until

model_repo = model_repo_fixture({})
Story = Callable[[Opened], Awaitable[None]]


@pytest.fixture
def live(model_repo: Path, tmp_path: Path) -> Callable[[Story], None]:
    """Run a story over one data folder. The next story finds what the earlier ones left."""

    def run(story: Story) -> None:
        async def lived() -> None:
            async with opened(model_repo, tmp_path / "data") as store:
                await story(store)

        asyncio.run(lived())

    return run


def test_collection_that_grows_is_trained_and_says_what_it_finds(
    live: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(store: Opened) -> None:
        await add_rows(store, range(900))
        stats = await store.collections.stats("default")
        assert stats.index is not None
        assert stats.index.kind == "flat"
        await add_rows(store, range(900, N))
        await until_saved(store)
        stats = await store.collections.stats("default")
        assert stats.index is not None
        assert stats.recall is not None
        assert stats.index.kind == "ivf"
        assert min(stats.recall.names, stats.recall.nouns) >= 0.99
        assert store.metrics.recalls["default"] == stats.recall
        await require_found(store, range(N))
        begins, _, ends = (record.message for record in caplog.records if record.name == "diptych.index")
        assert begins == "the index of collection default: training begins on 1,200 rows"
        assert re.fullmatch(
            r"the index of collection default: \d+ of 139 lists are searched; [\d.]+% of the nearest "
            r"by names, [\d.]+% by other nouns, [\d.]+% by images; made in \d+ s",
            ends,
        )

    caplog.set_level("INFO", "diptych.index")
    live(story)


def test_start_reads_the_index_and_brings_it_up_to_date(
    live: Callable[[Story], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "diptych.index")

    async def first(store: Opened) -> None:
        await add_rows(store, range(N))
        await until_saved(store)
        await store.collections.images.delete("default", "image-3")
        await add_rows(store, range(N, N + 20))
        await store.collections.change("default", CollectionChange(name="renamed"))

    async def second(store: Opened) -> None:
        assert re.search(
            r"the index of collection renamed: its files are used; \d+ of 139 lists", caplog.text
        )
        kind = store.pair("renamed").index.vectors.placement.kind
        assert kind == "ivf", "it was read, and not made anew"
        await require_found(store, [n for n in range(N + 20) if n != 3], "renamed")
        await store.collections.drop("renamed")
        await until(lambda: not index_files(tmp_path / "data"))

    live(first)
    assert index_files(tmp_path / "data") == [".ivf", ".rows"]
    live(second)


def test_start_reads_no_vectors_if_the_files_have_all(
    live: Callable[[Story], None], model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first(store: Opened) -> None:
        await add_rows(store, range(N))
        await until_saved(store)

    async def second() -> None:
        store = opened(model_repo, tmp_path / "data")
        monkeypatch.setattr(store.records.vectors, "since", None)
        async with store:
            await require_found(store, range(N))

    live(first)
    asyncio.run(second())


def test_start_without_the_files_is_exact_at_once_and_makes_them_again(
    live: Callable[[Story], None], tmp_path: Path
) -> None:
    async def first(store: Opened) -> None:
        await add_rows(store, range(N))
        await until_saved(store)

    async def second(store: Opened) -> None:
        await require_found(store, range(N))
        await until_saved(store)
        await require_found(store, range(N))

    live(first)
    for path in (tmp_path / "data" / "index").iterdir():
        path.unlink()
    live(second)
    assert index_files(tmp_path / "data") == [".ivf", ".rows"]


def test_training_ends_when_its_collection_is_dropped_and_others_are_trained_then(
    live: Callable[[Story], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ran_out, tune = threading.Event(), threading.Event(), cpu_index.tune

    def endless(rows: object, texts: object, check: Callable[[], object]) -> None:
        monkeypatch.setattr(cpu_index, "tune", tune)
        begun.set()
        for _ in range(1_000):
            check()
            time.sleep(0.01)
        ran_out.set()

    async def story(store: Opened) -> None:
        monkeypatch.setattr(cpu_index, "tune", endless)
        await store.collections.create("pets")
        await add_rows(store, range(N), "pets")
        await until(begun.is_set)
        assert index_files(tmp_path / "data") == [".rows"]
        await store.collections.drop("pets")
        await until(lambda: not index_files(tmp_path / "data"))
        assert not ran_out.is_set()
        await add_rows(store, range(N))
        await until_saved(store)

    live(story)


def test_collection_whose_index_fails_does_not_hold_up_the_others(
    live: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tune = cpu_index.tune

    def failing_once(*args: object) -> None:
        monkeypatch.setattr(cpu_index, "tune", tune)
        raise RuntimeError("no memory")

    async def story(store: Opened) -> None:
        monkeypatch.setattr(cpu_index, "tune", failing_once)
        await add_rows(store, range(N))
        await until(lambda: "index of collection default cannot be made" in caplog.text)
        await store.collections.create("pets")
        await add_rows(store, range(N), "pets")
        await until_saved(store, "pets")
        assert store.pair("default").index.vectors.placement.kind == "flat", "it is tried again later"

    live(story)


def test_start_removes_files_that_no_collection_needs(live: Callable[[Story], None], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "index"
    folder.mkdir(parents=True)
    (folder / "9_0123.ivf").write_bytes(b"of a collection that is gone")

    async def story(store: Opened) -> None:
        assert index_files(tmp_path / "data") == []

    live(story)
