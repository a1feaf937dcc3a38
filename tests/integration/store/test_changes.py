"""Renaming and configuring collections, and deleting many images, over the real adapters."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from diptych.core.collections import delete
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import CollectionChange, NewImage
from diptych.errors import Conflict, InvalidValue, NotFound, StoreError
from integration.store_parts import EncoderGate, Opened, Run, tiny_png, writes_held_up
from support.pictures import picture
from unit.core.core_fakes import until


async def add_numbers(opened: Opened, n: int) -> None:
    items = [NewImage(tiny_png(i), f"i{i:02}", {"n": i}) for i in range(n)]
    await opened.collections.add_many("default", items)


def begin(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(call) for call in calls]


def test_new_name_outlasts_a_restart_and_the_old_one_is_free(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await opened.collections.create("old", "none")
        await opened.add("old", picture("red"), "red")
        await opened.collections.change("old", CollectionChange(name="new"))
        with pytest.raises(NotFound):
            await opened.collections.get("old")
        await opened.collections.create("old")

    async def after(opened: Opened) -> None:
        assert [info.name for info in await opened.collections.list()] == ["default", "new", "old"]
        assert await opened.listed("new") == ["red"]
        assert (await opened.collections.get("new")).keep == "none"
        assert await opened.listed("old") == []

    run(before)
    run(after)


def test_name_that_is_taken_or_bad_changes_nothing(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("other")
        with pytest.raises(Conflict):
            await opened.collections.change("other", CollectionChange(name="default"))
        with pytest.raises(InvalidValue):
            await opened.collections.change("other", CollectionChange(name="No Good"))
        with pytest.raises(NotFound):
            await opened.collections.change("absent", CollectionChange(name="new"))
        assert [info.name for info in await opened.collections.list()] == ["default", "other"]

    run(story)


def test_images_that_are_encoded_during_a_rename_are_added_under_the_new_name(run: Run) -> None:
    async def story(opened: Opened) -> None:
        gate = EncoderGate(opened)
        adding = asyncio.create_task(opened.add("default", picture("red"), "red"))
        await until(gate.entered.is_set)
        await opened.collections.change("default", CollectionChange(name="renamed"))
        gate.open()
        assert (await adding).status == "created"
        assert await opened.listed("renamed") == ["red"]
        await opened.collections.ensure("default")

    run(story)


@pytest.mark.parametrize("last", ["change", "drop"])
def test_writes_that_wait_for_a_rename_are_done_under_the_new_name(run: Run, last: str) -> None:
    async def story(opened: Opened) -> None:
        collections = opened.collections
        await add_numbers(opened, 3)
        async with writes_held_up(opened):
            begun = begin(
                collections.change("default", CollectionChange(name="renamed")),
                collections.images.patch("default", "i00", {"patched": True}),
                collections.images.delete("default", "i01"),
                collections.images.delete_matching(
                    "default", parse_filter({"n": 2}), lacking=False, preview=False
                ),
                collections.change("default", CollectionChange(keep="none")),
            )
            if last == "drop":
                begun += begin(collections.drop("default"))
            await until(lambda: opened.write_queue.n_open == 1 + len(begun))
        await asyncio.gather(*begun)
        if last == "drop":
            assert await collections.list() == []
            assert opened.files() == []
        else:
            (info,) = await collections.list()
            assert (info.name, info.keep, info.n_images) == ("renamed", "none", 1)
            (left,) = (await collections.images.list("renamed", None, 9))[0]
            assert (left.id, left.metadata) == ("i00", {"n": 0, "patched": True})

    run(story)


def test_writes_that_wait_for_a_drop_are_not_found(run: Run) -> None:
    async def story(opened: Opened) -> None:
        collections = opened.collections
        await add_numbers(opened, 1)
        async with writes_held_up(opened):
            dropping = asyncio.create_task(collections.drop("default"))
            await until(lambda: opened.write_queue.n_open == 2)
            waiting = begin(
                collections.images.patch("default", "i00", {}),
                collections.images.delete("default", "i00"),
                collections.images.delete_matching(
                    "default", parse_filter({"n": 0}), lacking=False, preview=False
                ),
                collections.images.delete_matching("default", None, lacking=True, preview=False),
                collections.change("default", CollectionChange(name="other")),
                collections.drop("default"),
            )
            await until(lambda: opened.write_queue.n_open == 2 + len(waiting))
        await dropping
        for one in waiting:
            with pytest.raises(NotFound, match="collection 'default' was dropped"):
                await one

    run(story)


def test_deletion_of_many_takes_rows_vectors_and_files_in_chunks(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "CHUNK", 3)

    async def story(opened: Opened) -> None:
        await add_numbers(opened, 10)
        query = await opened.embedder.embed_image(picture("red"))
        deletion = await opened.collections.images.delete_matching(
            "default", parse_filter({"n": {"lt": 8}}), lacking=False, preview=False
        )
        assert deletion.n_images == 8
        assert await opened.listed() == ["i08", "i09"]
        assert sorted(await opened.ids(query)) == ["i08", "i09"]
        assert len(opened.files()) == 2
        assert opened.metrics.collections == {"default": 2}

    async def after(opened: Opened) -> None:
        assert await opened.listed() == ["i08", "i09"]

    run(story)
    run(after)


def test_preview_shows_the_first_ids_and_counts_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delete, "N_SHOWN", 2)

    async def story(opened: Opened) -> None:
        await add_numbers(opened, 5)
        found = await opened.collections.images.delete_matching(
            "default", parse_filter({"n": {"gte": 1}}), lacking=False, preview=True
        )
        assert (found.n_images, found.ids) == (4, ("i01", "i02"))
        assert len(await opened.listed()) == 5

    run(story)


def test_deletion_that_fails_on_the_way_leaves_store_index_and_counts_together(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "CHUNK", 2)

    async def story(opened: Opened) -> None:
        await add_numbers(opened, 5)
        delete_keys, calls = opened.records.writer.delete, []

        async def failing(c: int, keys: Any) -> Any:
            calls.append(keys)
            if len(calls) == 2:
                raise StoreError("the disk is full")
            return await delete_keys(c, keys)

        monkeypatch.setattr(opened.records.writer, "delete", failing)
        with pytest.raises(StoreError):
            await opened.collections.images.delete_matching(
                "default", parse_filter({"n": {"gte": 0}}), lacking=False, preview=False
            )
        assert await opened.listed() == ["i02", "i03", "i04"]
        assert (await opened.collections.get("default")).n_images == 3
        assert len(await opened.ids(await opened.embedder.embed_image(picture("red")))) == 3

    run(story)
