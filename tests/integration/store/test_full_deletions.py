"""Deletions that a full disk accepts only in small parts are complete, or consistent about what is gone."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import Removed
from diptych.errors import NotFound, StoreFull
from integration.store_parts import Opened, Run, stories, tiny_png
from support.tiny_bundle import write_tiny_bundle

N_IMAGES = 9


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_tiny_bundle(tmp_path / "repo")
    return stories(tmp_path / "repo", tmp_path / "data")


class FullDisk:
    """The store of an opened folder, whose log has room for so many deleted rows in one commit."""

    def __init__(
        self, opened: Opened, monkeypatch: pytest.MonkeyPatch, room: int, n_commits: int = 99
    ) -> None:
        self.asked: list[int] = []
        self._opened, self._room, self._n_commits = opened, room, n_commits
        self._delete_keys, self._drop = opened.records.writer.delete, opened.records.catalogue.drop
        monkeypatch.setattr(opened.records.writer, "delete", self.delete_keys)
        monkeypatch.setattr(opened.records.catalogue, "drop", self.drop_collection)

    async def delete_keys(self, c: int, keys: Sequence[int]) -> Removed:
        self.asked.append(len(keys))
        if len(keys) > self._room or self._n_commits == 0:
            raise StoreFull("no space is left")
        self._n_commits -= 1
        return await self._delete_keys(c, keys)

    async def drop_collection(self, c: int) -> Removed:
        if len(await self._opened.records.rows.keys(c)) > self._room:
            raise StoreFull("no space is left")
        return await self._drop(c)


async def add_images(opened: Opened) -> None:
    for n in range(N_IMAGES):
        await opened.add("default", tiny_png(n), f"i{n}", {"n": n})


def test_collection_is_dropped_in_parts_where_it_is_too_much_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_images(opened)
        disk = FullDisk(opened, monkeypatch, room=2)
        await opened.collections.drop("default")
        assert disk.asked == [9, 2, 2, 2, 2, 1]
        assert opened.files() == []
        with pytest.raises(NotFound):
            await opened.collections.get("default")
        assert await opened.records.catalogue.list() == []
        await opened.collections.create("default")
        await opened.add("default", tiny_png(1))

    run(story)


def test_drop_that_a_full_disk_ends_half_way_leaves_the_rest_to_be_seen_and_found(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_images(opened)
        query = await opened.collections.images.embedding("default", "i8")
        with monkeypatch.context() as patched:
            FullDisk(opened, patched, room=2, n_commits=3)
            with pytest.raises(StoreFull):
                await opened.collections.drop("default")
        left = ["i6", "i7", "i8"]
        assert await opened.listed() == sorted(await opened.ids(query)) == left
        assert (await opened.collections.get("default")).n_images == len(opened.files()) == len(left)
        await opened.collections.drop("default")

    run(story)


def test_filter_deletes_in_parts_where_all_is_too_much_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_images(opened)
        disk = FullDisk(opened, monkeypatch, room=1)
        some = parse_filter({"n": {"lt": 5}})
        done = await opened.collections.images.delete_matching("default", some, lacking=False, preview=False)
        assert (done.n_images, disk.asked) == (5, [5, 1, 1, 1, 1, 1])
        assert await opened.listed() == ["i5", "i6", "i7", "i8"]

    run(story)
