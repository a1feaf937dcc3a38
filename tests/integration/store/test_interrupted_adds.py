"""Whatever interrupts an add, its file is neither lost nor left behind, and adding it again repairs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from diptych.core.collections.stored.ids import sha256_of
from diptych.core.types import NewImage
from diptych.errors import Conflict, EncoderFailed, NotFound, StoreError
from integration.store_parts import EncoderGate, Opened, Run, add_colours, writes_held_up
from support.pictures import picture
from unit.core.core_fakes import until

RED, BLUE = picture("red"), picture("blue")


@asynccontextmanager
async def adding(
    opened: Opened, payload: bytes, id: str, **how: Any
) -> AsyncIterator[tuple[Any, EncoderGate]]:
    """The add, with its file on the disk, before it is encoded."""
    gate = EncoderGate(opened)
    task = asyncio.create_task(opened.add("default", payload, id, **how))
    await until(gate.entered.is_set)
    await until(lambda: sha256_of(payload) in opened.files())
    yield task, gate


def test_deleting_the_last_image_with_the_same_bytes_leaves_the_file_to_the_add(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", RED, "old")
        async with adding(opened, RED, "new") as (task, gate):
            await opened.collections.images.delete("default", "old")
            assert opened.files() == [sha256_of(RED)]
            gate.open()
            assert (await task).status == "created"
        assert (await opened.collections.images.original("default", "new"))[0] == RED
        await opened.collections.images.delete("default", "new")
        assert opened.files() == []

    run(story)


def test_deleted_file_that_an_add_had_claimed_goes_when_the_add_fails(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", RED, "old")
        async with adding(opened, RED, "new") as (task, gate):
            await opened.collections.images.delete("default", "old")
            gate.open(fails=True)
            assert isinstance((await task).error, EncoderFailed)
        assert opened.files() == []

    run(story)


def test_of_two_adds_of_the_same_bytes_the_one_that_fails_takes_nothing_from_the_other(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with adding(opened, RED, "first") as (first, gate):
            second = asyncio.create_task(opened.add("default", RED, "second"))
            await asyncio.sleep(0.05)
            first.cancel()
            await asyncio.wait([first])
            gate.open()
            assert (await second).status == "created"
        assert (await opened.collections.images.original("default", "second"))[0] == RED
        assert opened.files() == [sha256_of(RED)]

    run(story)


def test_add_whose_caller_left_while_it_was_encoded_leaves_no_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with adding(opened, RED, "red") as (task, gate):
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: opened.files() == [])
            gate.open()
        assert (await opened.collections.get("default")).n_images == 0

    run(story)


def test_add_whose_caller_left_while_its_row_waited_behind_a_delete_keeps_its_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", RED, "old")
        async with writes_held_up(opened):
            deleting = asyncio.create_task(opened.collections.images.delete("default", "old"))
            await asyncio.sleep(0)  # it has its place in the queue
            adding = asyncio.create_task(opened.add("default", RED, "new"))
            await until(lambda: opened.write_queue.n_open == 3)  # its row waits, too
            adding.cancel()
            await asyncio.sleep(0.05)
        await asyncio.wait([deleting, adding])
        assert await opened.listed() == ["new"]
        assert (await opened.collections.images.original("default", "new"))[0] == RED
        await opened.collections.images.delete("default", "new")
        assert opened.files() == []  # nobody claims it any more

    run(story)


def test_add_to_a_collection_that_is_dropped_meanwhile_leaves_no_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with adding(opened, RED, "red") as (task, gate):
            await opened.collections.drop("default")
            gate.open()
            with pytest.raises(NotFound):
                await task
        assert opened.files() == []

    run(story)


def test_id_that_is_taken_while_its_image_is_encoded_leaves_only_the_file_of_the_first(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with writes_held_up(opened):
            first = asyncio.create_task(opened.add("default", BLUE, "x"))
            await until(lambda: opened.write_queue.n_open == 2)  # its row waits for its turn
            gate = EncoderGate(opened)
            second = asyncio.create_task(opened.add("default", RED, "x"))
            await until(gate.entered.is_set)
        assert (await first).status == "created"
        gate.open()
        refused = await second
        assert (refused.status, type(refused.error)) == ("failed", Conflict)
        assert opened.files() == [sha256_of(BLUE)]

    run(story)


def test_images_that_cannot_be_decoded_are_never_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(opened: Opened) -> None:
        put, written = opened.images.put, list[str]()

        async def remembered(payloads: dict[str, bytes], **options: Any) -> None:
            written.extend(payloads)
            await put(payloads, **options)

        monkeypatch.setattr(opened.images, "put", remembered)
        await opened.collections.add_many("default", [NewImage(RED), NewImage(RED[:60]), NewImage(b"text")])
        assert written == [sha256_of(RED)]

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
