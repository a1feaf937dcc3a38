"""Writes that are refused, dropped or interrupted leave nothing half done, and can be repaired."""

import asyncio
import threading
from typing import Any

import pytest

from diptych.core.collections import registry
from diptych.errors import NotFound, StoreError, StoreFull
from integration.store_parts import COLOURS, Opened, Run, add_colours, embedded, look
from support.pictures import picture


def test_write_finishes_when_the_client_goes_away(run: Run) -> None:
    async def story(opened: Opened) -> None:
        put, written = opened.records.writer.put, asyncio.Event()

        async def slow_put(*values: Any, **named: Any) -> Any:
            written.set()
            await asyncio.sleep(0.02)
            return await put(*values, **named)

        opened.records.writer.put = slow_put  # type: ignore[method-assign]
        adding = asyncio.create_task(opened.add("default", picture("red"), "x"))
        await written.wait()
        adding.cancel()
        await asyncio.wait([adding])
        assert adding.cancelled()
        await opened.add("default", picture("blue"), "y")
        assert set(await opened.ids(await look(opened, "red"))) == {"x", "y"}

    run(story)


def test_files_that_no_row_uses_are_removed_at_the_start(run: Run) -> None:
    async def leave_orphans(opened: Opened) -> None:
        await add_colours(opened)
        await opened.images.put({"ab" + "0" * 62: b"orphan"})
        await opened.images.put_thumbnail("cd" + "0" * 62, 64, b"orphan")
        (opened.data_dir / "images" / "ab" / ".tmp-1").write_bytes(b"half")
        assert len(opened.files()) == 7

    async def after(opened: Opened) -> None:
        assert len(opened.files()) == 4

    run(leave_orphans)
    run(after)


def test_file_of_the_last_image_is_removed_at_the_start_when_its_delete_was_killed_before_that(
    run: Run,
) -> None:
    async def deleted_but_for_its_file(opened: Opened) -> None:
        await opened.add("default", picture("red"), "red")
        await opened.collections.images.thumbnail("default", "red", 64)
        c = opened.collections["default"].number
        await opened.records.writer.delete(c, await opened.records.rows.keys(c, ["red"]))
        assert len(opened.files()) == 2

    async def after(opened: Opened) -> None:
        assert opened.files() == []

    run(deleted_but_for_its_file)
    run(after)


def test_file_of_a_first_add_that_was_killed_is_removed_at_the_start(run: Run) -> None:
    async def before(opened: Opened) -> None:
        await opened.images.put({"ab" + "0" * 62: b"its row was never committed"})

    async def after(opened: Opened) -> None:
        assert opened.files() == []

    run(before)
    run(after)


def test_collection_dropped_while_images_are_encoded_takes_none(run: Run) -> None:
    async def story(opened: Opened) -> None:
        entered, gate, encode = threading.Event(), threading.Event(), opened.encode_image
        opened.encode_image = lambda items, on_start: (entered.set(), gate.wait(10), encode(items, on_start))[
            2
        ]
        adding = asyncio.create_task(opened.add("default", picture("red"), "x"))
        await asyncio.to_thread(entered.wait)
        await opened.collections.drop("default")
        await opened.collections.create("default")
        gate.set()
        with pytest.raises(NotFound):
            await adding
        assert (await opened.collections.get("default")).n_images == 0
        assert opened.files() == []

    run(story)


def test_add_that_the_database_refuses_leaves_no_file_and_acknowledges_nothing(run: Run) -> None:
    async def story(opened: Opened) -> None:
        put = opened.records.writer.put

        async def refuse(*values: Any, **named: Any) -> Any:
            raise StoreError("database or disk is full")

        opened.records.writer.put = refuse  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await opened.add("default", picture("red"), "x")
        assert opened.files() == []
        opened.records.writer.put = put  # type: ignore[method-assign]
        assert (await opened.add("default", picture("red"), "x")).status == "created"

    run(story)


def test_add_that_the_index_refuses_is_listed_and_counted_and_heals_when_added_again(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("blue"), "blue")
        (index,) = opened.indexes

        async def refuse(*values: Any) -> None:
            raise RuntimeError("rows of another width")

        apply, index.apply = index.apply, refuse  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await opened.add("default", picture("red"), "red")
        with pytest.raises(RuntimeError):
            await opened.collections.images.delete("default", "blue")
        index.apply = apply  # type: ignore[method-assign]

        listed, _ = await opened.collections.images.list("default", None, 10)
        info = await opened.collections.get("default")
        assert ([image.id for image in listed], info.n_images, info.n_embedded) == (["red"], 1, 0)
        assert opened.metrics.collections == {"default": 1}
        assert await opened.ids(await look(opened, "red")) == []
        lacking = await opened.collections.images.delete_matching(
            "default", None, lacking=True, preview=False
        )
        assert lacking.n_images == 0  # its vector is kept, and a start would put it into the index

        assert (await opened.add("default", picture("red"), "red")).status == "unchanged"
        assert (await opened.collections.get("default")).n_embedded == 1
        assert await opened.ids(await look(opened, "red")) == ["red"]

    async def after(opened: Opened) -> None:
        assert await opened.ids(await look(opened, "red")) == ["red"]
        assert (await opened.collections.get("default")).n_images == 1

    run(story)
    run(after)


def test_concurrent_adds_of_one_id_agree_on_one_image(run: Run) -> None:
    async def story(opened: Opened) -> None:
        payloads = [picture(colour) for colour in COLOURS] * 3
        outcomes = await asyncio.gather(*(opened.add("default", one, "x") for one in payloads))
        kept, _ = await opened.collections.images.original("default", "x")
        for payload, outcome in zip(payloads, outcomes, strict=True):
            assert (outcome.status == "failed") == (payload != kept)
        assert [outcome.status for outcome in outcomes].count("created") == 1
        assert len(opened.files()) == 1
        assert await opened.ids(await look(opened, "red")) == ["x"]

    run(story)


def test_search_in_a_collection_that_is_dropped_meanwhile_finds_no_collection(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        query, entered, gate = await look(opened, "red"), threading.Event(), threading.Event()

        class Slow:
            def matches(self, metadata: Any) -> bool:
                entered.set()
                return gate.wait(10)

        searching = asyncio.create_task(opened.ids(query, filter=Slow()))
        await asyncio.to_thread(entered.wait)
        await opened.collections.drop("default")
        gate.set()
        with pytest.raises(NotFound, match="was dropped"):
            await searching

    run(story)


def test_adding_an_image_again_heals_its_lost_or_damaged_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", picture("red"), "x")
        (file,) = (opened.data_dir / "images").glob("*/*")
        file.unlink()
        assert (await opened.add("default", picture("red"), "x")).status == "unchanged"
        assert file.read_bytes() == picture("red")
        file.write_bytes(b"junk")
        assert (await opened.add("default", picture("red"), "y")).status == "created"
        assert (await opened.collections.images.original("default", "y"))[0] == picture("red")

    run(story)


def test_lost_vectors_are_made_again_at_the_start_and_once_more_if_that_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "RETRY_S", 0.01)
    failures: list[str] = []

    async def lose(opened: Opened) -> None:
        await add_colours(opened)
        await opened.records.threads.write(lambda db: db.execute("DELETE FROM embeddings WHERE key < 3"))

    def fail_once(opened: Opened) -> None:
        put = opened.records.vectors.put

        async def put_later(*values: Any) -> Any:
            if failures:
                return await put(*values)
            failures.append(opened.collections["default"].state)
            raise StoreFull("no space is left")

        opened.records.vectors.put = put_later  # type: ignore[method-assign]

    async def after(opened: Opened) -> None:
        info = await embedded(opened)
        assert (info.state, info.n_embedded, info.reason) == ("ready", 4, "")
        assert failures == ["embedding"]
        assert sorted(await opened.ids(await look(opened, "red"))) == sorted(COLOURS)

    run(lose)
    run(after, before=fail_once)
