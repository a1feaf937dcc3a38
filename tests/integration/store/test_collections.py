"""Collections of the tiny model, and what happens to them while they are renamed, dropped and emptied."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Coroutine
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from diptych.adapters.sqlite.store import DATABASE
from diptych.core.collections import delete
from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import CollectionChange, NewImage
from diptych.errors import InvalidValue, NotFound
from integration.store_parts import EncoderGate, Opened, Run, add_colours, look, tiny_png, writes_held_up
from support.pictures import noise, picture
from unit.core.core_fakes import until


def test_search_is_the_exact_ranking_with_offset_and_filter(run: Run) -> None:
    async def story(opened: Opened) -> None:
        items = [NewImage(tiny_png(n), f"i{n:02}", {"n": n}) for n in range(50)]
        await opened.collections.add_many("default", items)
        query = await look(opened, "red")
        rows = np.stack(
            [await opened.collections.images.embedding("default", item.id or "") for item in items]
        )
        ranked = [f"i{n:02}" for n in np.argsort(-(rows @ query), kind="stable")]
        assert await opened.ids(query, k=50) == ranked
        assert await opened.ids(query, k=7, offset=11) == ranked[11:18]
        assert await opened.ids(query, k=7, offset=60) == []
        few = parse_filter({"n": {"lt": 20}, "not": {"n": {"in": [3, 4]}}})
        expected = [id for id in ranked if int(id[1:]) < 20 and id not in {"i03", "i04"}]
        assert await opened.ids(query, k=5, offset=2, filter=few) == expected[2:7]
        (best,) = await opened.search("default", query, k=1)
        assert best.cosine == pytest.approx(float((rows @ query).max()), abs=1e-5)
        assert best.relevance is None
        assert best.metadata == {"n": int(best.id[1:])}

    run(story)


def test_adding_the_same_again_is_unchanged_and_costs_no_encoding(run: Run) -> None:
    async def story(opened: Opened) -> None:
        first = await opened.add("default", picture("red"), metadata={"a": 1})
        n_batches = len(opened.metrics.batches)
        again = await opened.add("default", picture("red"), metadata={"a": 2})
        assert (first.status, again.status) == ("created", "unchanged")
        assert first.id == again.id
        assert first.id == (await opened.collections.images.get("default", first.id or "")).sha256[:32]
        assert len(opened.metrics.batches) == n_batches
        assert (await opened.collections.images.get("default", first.id or "")).metadata == {"a": 1}

    run(story)


def test_deleted_image_leaves_nothing_behind(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("second")
        await opened.add("second", picture("red"), "also-red")
        await opened.collections.images.thumbnail("default", "red", 64)
        await opened.collections.images.thumbnail("default", "blue", 64)
        await opened.collections.images.delete("default", "blue")
        await opened.collections.images.delete("default", "red")
        assert set(await opened.ids(await look(opened, "red"))) == {"green", "yellow"}
        with pytest.raises(NotFound):
            await opened.collections.images.get("default", "red")
        with pytest.raises(NotFound):
            await opened.collections.images.delete("default", "red")
        red = (await opened.collections.images.get("second", "also-red")).sha256
        # green, yellow, and red with its thumbnail, which `second` still uses
        assert len(opened.files()) == 4
        assert f"{red}-64" in opened.files()
        with closing(sqlite3.connect(opened.data_dir / DATABASE)) as db:
            assert db.execute("SELECT count(*) FROM embeddings").fetchone() == (3,)
        await opened.collections.drop("second")
        assert len(opened.files()) == 2
        with pytest.raises(NotFound):
            await opened.collections.get("second")
        assert opened.metrics.collections == {"default": 2, "second": None}

    run(story)


def test_thumbnail_is_kept_and_its_sizes_are_a_closed_set(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", noise(0, (300, 200)), "x")
        made = await opened.collections.images.thumbnail("default", "x", 64)
        assert await opened.collections.images.thumbnail("default", "x", 64) == made
        assert len(opened.files()) == 2
        with pytest.raises(InvalidValue, match="size 65 is not one of 64, 128"):
            await opened.collections.images.thumbnail("default", "x", 65)

    run(story)


def test_collection_that_keeps_nothing_writes_no_file_and_is_searched(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        assert (await opened.add("bare", picture("red"), "red")).status == "created"
        assert (await opened.add("bare", picture("red"), "red")).status == "unchanged"
        assert opened.files() == []
        query = (await opened.embedder.embed_text("red")).embedding
        assert [hit.id for hit in await opened.search("bare", query, k=3)] == ["red"]
        with pytest.raises(NotFound, match="no file is kept"):
            await opened.collections.images.original("bare", "red")

    async def after(opened: Opened) -> None:
        info = await opened.collections.get("bare")
        assert (info.keep, info.state, info.n_embedded) == ("none", "ready", 1)

    run(story)
    run(after)


def test_file_that_another_collection_keeps_outlives_the_row_that_keeps_none(
    run: Run,
) -> None:
    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("default", picture("red"), "red")
        await opened.add("bare", picture("red"), "red")
        await opened.collections.images.delete("bare", "red")
        assert len(opened.files()) == 1
        await opened.add("bare", picture("red"), "red")
        await opened.collections.images.delete("default", "red")
        assert opened.files() == []

    run(story)


async def add_numbers(opened: Opened, n: int) -> None:
    items = [NewImage(tiny_png(i), f"i{i:02}", {"n": i}) for i in range(n)]
    await opened.collections.add_many("default", items)


def begin(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(call) for call in calls]


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


def test_other_writes_run_while_the_images_of_a_dropped_collection_go(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        ended = list[str]()

        async def noted(name: str, write: Awaitable[object]) -> None:
            await write
            ended.append(name)

        await add_numbers(opened, 5)
        monkeypatch.setattr(delete, "TURN", 1)
        async with writes_held_up(opened):
            writes = begin(noted("drop", opened.collections.drop("default")))
            await until(lambda: opened.write_queue.n_open == 2)
            writes += begin(noted("create", opened.collections.create("other")))
            await until(lambda: opened.write_queue.n_open == 3)
        await asyncio.gather(*writes)
        assert ended == ["create", "drop"]
        assert opened.files() == []

    run(story)


def test_dropped_collection_goes_whole_though_nobody_waits_for_it(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_numbers(opened, 5)
        async with writes_held_up(opened):
            dropping = asyncio.create_task(opened.collections.drop("default"))
            await until(lambda: opened.write_queue.n_open == 2)
            dropping.cancel()
        await until(lambda: opened.files() == [])
        assert "default" not in opened.collections

    run(story)


def test_start_removes_what_a_kill_has_left_of_a_dropped_collection(run: Run) -> None:
    async def killed(opened: Opened) -> None:
        await add_numbers(opened, 5)
        await opened.records.catalogue.drop(opened.collections["default"].number)
        assert len(opened.files()) == 5

    async def again(opened: Opened) -> None:
        assert (await opened.collections.get("default")).n_images == 0, "it is another one"
        await until(lambda: opened.files() == [])
        assert await opened.records.catalogue.dropped() == []

    run(killed)
    run(again)


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
