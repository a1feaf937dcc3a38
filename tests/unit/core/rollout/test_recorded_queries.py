"""Texts of searches are recorded only if that is turned on, later, and each once."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from diptych.core.collections.collection import LoadedCollection
from diptych.core.rollout.recorded_queries import MAX_CHARS, MAX_KEPT, QueryRecorder
from diptych.errors import NotFound, StoreFull
from unit.core.core_fakes import FakeMetrics, until


class FakeQueryStore:
    """Keeps texts by collection, the newest last; `error` is raised by writes."""

    def __init__(self) -> None:
        self.kept: dict[str, list[str]] = {"photos": []}
        self.writes: list[list[str]] = []
        self.error: Exception | None = None

    async def add_queries(self, collection: str, texts: Sequence[str], max_kept: int) -> None:
        self.writes.append(list(texts))
        if self.error is not None:
            raise self.error
        if collection not in self.kept:
            raise NotFound(f"no collection {collection}")
        self.kept[collection] = [*self.kept[collection], *texts][-max_kept:]

    async def queries(self, collection: str) -> list[str]:
        return self.kept[collection][::-1]

    async def forget_queries(self) -> int:
        n = sum(map(len, self.kept.values()))
        self.kept = {name: [] for name in self.kept}
        return n


def collection(name: str = "photos") -> LoadedCollection:
    return LoadedCollection(name, "tiny", "2026-01-01", FakeMetrics(), 0)


def test_nothing_is_recorded_unless_turned_on_and_turning_off_deletes() -> None:
    async def story() -> None:
        store = FakeQueryStore()
        store.kept["photos"] = ["of yesterday"]
        recorder, photos = QueryRecorder(store, enabled=False), collection()
        await recorder.open()
        recorder.note(photos, ["red"])
        assert await recorder.texts(photos) == []
        await recorder.close()
        assert (store.kept, store.writes) == ({"photos": []}, [])

    asyncio.run(story())


def test_texts_are_written_a_little_later_and_each_once() -> None:
    async def story() -> None:
        store = FakeQueryStore()
        recorder, photos = QueryRecorder(store, enabled=True, write_every_s=0.001), collection()
        await recorder.open()
        recorder.note(photos, ["red", "blue"])
        recorder.note(photos, ["red", "", "x" * (MAX_CHARS + 1)])
        assert store.writes == []
        await until(lambda: store.writes)
        recorder.note(photos, ["blue", "green"])
        await recorder.close()
        assert store.writes == [["blue", "red"], ["green"]]

    asyncio.run(story())


def test_a_flood_of_texts_keeps_the_newest() -> None:
    async def story() -> None:
        store = FakeQueryStore()
        recorder, photos = QueryRecorder(store, enabled=True), collection()
        for n in range(MAX_KEPT + 5):
            recorder.note(photos, [str(n)])
        found = await recorder.texts(photos)
        assert (len(found), found[0], found[-1]) == (MAX_KEPT, str(MAX_KEPT + 4), "5")

    asyncio.run(story())


def test_a_dropped_collection_and_a_full_disk_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        store = FakeQueryStore()
        recorder, photos, gone = QueryRecorder(store, enabled=True), collection(), collection("gone")
        gone.dropped = True
        recorder.note(gone, ["secret of gone"])
        store.error = StoreFull("the disk is full")
        recorder.note(photos, ["secret of photos"])
        assert await recorder.texts(photos) == []
        store.error = None
        recorder.note(photos, ["red"])
        assert await recorder.texts(photos) == ["red"]

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
    assert "the disk is full" in caplog.text
    assert "secret" not in caplog.text
