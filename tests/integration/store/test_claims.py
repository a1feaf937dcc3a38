"""Files are written during encoding; whatever happens meanwhile, they are neither lost nor left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from diptych.core.collections.ids import sha256_of
from diptych.core.types import NewImage
from diptych.errors import Conflict, EncoderFailed, NotFound, NotReady, StoreFull
from integration.store_parts import EncoderGate, Opened, Run, writes_held_up
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


def test_file_is_on_the_disk_before_its_image_is_encoded(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with adding(opened, RED, "red") as (task, gate):
            with pytest.raises(NotFound):
                await opened.collections.images.get("default", "red")
            gate.open()
            assert (await task).status == "created"
        assert opened.files() == [sha256_of(RED)]

    run(story)


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


def test_failed_add_leaves_the_file_of_another_image_with_the_same_bytes(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await opened.add("default", RED, "old")
        async with adding(opened, RED, "new") as (task, gate):
            gate.open(fails=True)
            assert (await task).status == "failed"
        assert (await opened.collections.images.original("default", "old"))[0] == RED

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


def test_add_whose_caller_left_while_its_row_waited_and_is_refused_leaves_no_file(run: Run) -> None:
    async def story(opened: Opened) -> None:
        async with writes_held_up(opened):
            dropping = asyncio.create_task(opened.collections.drop("default"))
            await asyncio.sleep(0)
            adding = asyncio.create_task(opened.add("default", RED, "new"))
            await until(lambda: opened.write_queue.n_open == 3)  # its row waits, too
            adding.cancel()
        await asyncio.wait([dropping, adding])
        assert opened.files() == []

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

        async def remembered(payloads: dict[str, bytes]) -> None:
            written.extend(payloads)
            await put(payloads)

        monkeypatch.setattr(opened.images, "put", remembered)
        await opened.collections.add_many("default", [NewImage(RED), NewImage(RED[:60]), NewImage(b"text")])
        assert written == [sha256_of(RED)]

    run(story)


def test_disk_that_gets_full_fails_the_add_and_leaves_none_of_its_files(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        put = opened.images.put

        async def put_and_fail(payloads: dict[str, bytes]) -> None:
            await put(payloads)
            raise StoreFull("no room")

        monkeypatch.setattr(opened.images, "put", put_and_fail)
        with pytest.raises(StoreFull):
            await opened.add("default", RED)
        assert opened.files() == []
        assert (await opened.collections.get("default")).n_images == 0

    run(story)


def test_add_that_is_under_way_at_the_stop_leaves_what_the_next_start_removes(
    model_repo: Path, tmp_path: Path
) -> None:
    async def first() -> None:
        opened = await Opened(model_repo, tmp_path, 1).__aenter__()
        await opened.add("default", BLUE, "blue")
        gate = EncoderGate(opened)
        task = asyncio.create_task(opened.add("default", RED, "red"))
        await until(gate.entered.is_set)
        closing = asyncio.create_task(opened.collections.close())
        await asyncio.sleep(0.05)
        gate.open()
        await asyncio.wait([task, closing])
        assert isinstance(task.exception(), NotReady)
        await opened.embedder.close()

    async def second() -> None:
        async with Opened(model_repo, tmp_path, 1) as opened:
            assert opened.files() == [sha256_of(BLUE)]

    asyncio.run(first())
    asyncio.run(second())
