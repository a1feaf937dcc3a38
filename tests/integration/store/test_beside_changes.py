"""Reads while their collection is renamed, or their image replaced: they see the state before or after."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.metadata.filter_parser import parse_filter
from diptych.core.types import CollectionChange, NewImage
from diptych.errors import NotFound
from integration.store_parts import Opened, Run, tiny_png
from support.one_search import search_by
from support.tiny_bundle import EMBED_DIM

Read = Callable[[Opened], Awaitable[Any]]
FILTER = parse_filter({"n": {"gte": 1}})
QUERY = np.eye(EMBED_DIM, dtype=np.float32)[0]


async def listed(opened: Opened) -> Any:
    return await opened.listed("default")


async def got(opened: Opened) -> Any:
    return (await opened.collections.images.get("default", "i1")).metadata


async def looked_up(opened: Opened) -> Any:
    return [image.id for image in await opened.collections.images.find("default", ["i0", "i2"])]


async def original(opened: Opened) -> Any:
    return await opened.collections.images.original("default", "i1")


async def embedding(opened: Opened) -> Any:
    return (await opened.collections.images.embedding("default", "i1")).tolist()


async def found(opened: Opened) -> Any:
    hits = await opened.search("default", QUERY, k=9, filter=FILTER)
    return [(hit.id, hit.cosine) for hit in hits]


async def found_by_words(opened: Opened, collection: str = "default") -> Any:
    result = await search_by(opened.serving, opened.collections, collection, "i1", k=9, match="words")
    return [(hit.id, hit.cosine, hit.matched_fields) for hit in result.hits]


async def previewed(opened: Opened) -> Any:
    return await opened.collections.images.delete_matching("default", FILTER, lacking=False, preview=True)


async def measured(opened: Opened) -> Any:
    return (await opened.collections.stats("default")).sizes


async def all_measured(opened: Opened) -> Any:
    return sorted(str(stats.sizes) for stats in await opened.collections.stats_of_all())


async def added_again(opened: Opened) -> Any:
    return (await opened.add("default", tiny_png(1), "i1")).status


READS = [
    listed,
    got,
    looked_up,
    original,
    embedding,
    found,
    found_by_words,
    previewed,
    measured,
    all_measured,
    added_again,
]


async def fill(opened: Opened) -> None:
    """Three images in one collection, and one that has an id of theirs in another."""
    items = [NewImage(tiny_png(n), f"i{n}", {"n": n}) for n in range(3)]
    await opened.collections.add_many("default", items)
    await opened.collections.create("other")
    await opened.add("other", tiny_png(9), "i1", {"n": 9})


async def rename(opened: Opened, name: str, new_name: str) -> None:
    await opened.collections.change(name, CollectionChange(name=new_name))


def before_next_read(opened: Opened, happens: Callable[[], Awaitable[None]]) -> None:
    """The next read of the store has to wait for a thread until this has happened."""
    read = opened.records.threads.read

    async def late(work: Any) -> Any:
        vars(opened.records.threads).pop("read", None)
        await happens()
        return await read(work)

    vars(opened.records.threads)["read"] = late


@pytest.mark.parametrize("read", READS)
def test_collection_whose_name_is_given_to_another_meanwhile_is_read(run: Run, read: Read) -> None:
    async def story(opened: Opened) -> None:
        async def swap() -> None:
            await rename(opened, "default", "renamed")
            await rename(opened, "other", "default")

        await fill(opened)
        before = await read(opened)
        before_next_read(opened, swap)
        assert await read(opened) == before

    run(story)


@pytest.mark.parametrize("read", READS)
def test_read_between_the_commit_of_a_new_name_and_its_use_is_of_that_collection(
    run: Run, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        before = await read(opened)
        change, committed, go_on = opened.records.catalogue.change, asyncio.Event(), asyncio.Event()

        async def held_up(*values: Any) -> None:
            await change(*values)
            committed.set()
            await go_on.wait()

        monkeypatch.setattr(opened.records.catalogue, "change", held_up)
        renaming = asyncio.create_task(rename(opened, "default", "renamed"))
        await committed.wait()
        reading = asyncio.create_task(read(opened))
        await asyncio.sleep(0.05)
        go_on.set()
        assert await reading == before
        await renaming

    run(story)


@pytest.mark.parametrize("read", [one for one in READS if one not in {all_measured, added_again}])
def test_collection_that_is_dropped_meanwhile_is_not_there_even_if_its_name_is(run: Run, read: Read) -> None:
    async def story(opened: Opened) -> None:
        async def drop() -> None:
            await opened.collections.drop("default")
            await opened.collections.create("default")

        await fill(opened)
        before_next_read(opened, drop)
        with pytest.raises(NotFound, match="was dropped"):
            await read(opened)

    run(story)


def test_list_of_all_leaves_out_what_is_dropped_meanwhile(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        before_next_read(opened, lambda: opened.collections.drop("default"))
        assert [stats.info.name for stats in await opened.collections.stats_of_all()] == ["other"]

    run(story)


def test_statements_of_a_read_see_the_same_commit(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        loop = asyncio.get_running_loop()

        def work(db: Any) -> list[int]:
            counts = [db.execute("SELECT count(*) FROM images").fetchone()[0]]
            asyncio.run_coroutine_threadsafe(opened.collections.images.delete("default", "i0"), loop).result(
                10
            )
            return [*counts, db.execute("SELECT count(*) FROM images").fetchone()[0]]

        assert await opened.records.threads.read(work) == [4, 4]
        assert len(await opened.listed()) == 2

    run(story)


def before_next_file(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]
) -> None:
    """The row has been read by then, and the file has not."""
    get, todo = opened.images.get, [happens]

    async def late(sha256: str) -> bytes:
        while todo:
            await todo.pop()()
        return await get(sha256)

    monkeypatch.setattr(opened.images, "get", late)


async def thumbnail(opened: Opened) -> Any:
    return await opened.collections.images.thumbnail("default", "i1", 64)


@pytest.mark.parametrize("read", [original, thumbnail])
def test_file_of_an_image_that_is_replaced_meanwhile_is_the_new_one(
    run: Run, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        replace = lambda: opened.add("default", tiny_png(7), "i1", replace=True)  # noqa: E731
        before_next_file(opened, monkeypatch, replace)
        answer = await read(opened)
        assert answer == await read(opened)
        assert read is thumbnail or answer == (tiny_png(7), "image/png")

    run(story)


@pytest.mark.parametrize("read", [original, thumbnail])
def test_file_of_an_image_that_is_deleted_meanwhile_is_not_found(
    run: Run, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        before_next_file(opened, monkeypatch, lambda: opened.collections.images.delete("default", "i1"))
        with pytest.raises(NotFound, match="no image 'i1'"):
            await read(opened)

    run(story)


def test_image_that_is_deleted_while_it_is_found_makes_room_for_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        first, second, _ = [hit.id for hit in await opened.search("default", QUERY, k=3)]
        by_key, deleted = opened.records.rows.by_key, list[str]()

        async def late(keys: Any) -> Any:
            if not deleted:
                deleted.append(first)
                await opened.collections.images.delete("default", first)
            return await by_key(keys)

        monkeypatch.setattr(opened.records.rows, "by_key", late)
        assert await opened.ids(QUERY, k=1) == [second]

    run(story)


def test_image_that_is_replaced_over_and_over_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        by_key, n_replaced = opened.records.rows.by_key, 0

        async def late(keys: Any) -> Any:
            nonlocal n_replaced
            if not opened.write_queue.n_open:
                n_replaced += 1
                await opened.add("default", tiny_png(9 + n_replaced), "i1", replace=True)
            return await by_key(keys)

        monkeypatch.setattr(opened.records.rows, "by_key", late)
        assert sorted(await opened.ids(QUERY, k=9)) == ["i0", "i1", "i2"]
        assert n_replaced > 1

    run(story)


async def ids_with_filter(opened: Opened) -> list[str]:
    return sorted(await opened.ids(QUERY, filter=FILTER))


async def ids_with_words(opened: Opened) -> list[str]:
    result = await search_by(opened.serving, opened.collections, "default", "i*", k=9, match="words")
    return sorted(hit.id for hit in result.hits if hit.id != "i0")


@pytest.mark.parametrize("found_ids", [ids_with_filter, ids_with_words])
def test_image_is_found_between_the_commit_of_its_replacement_and_the_index(
    run: Run, monkeypatch: pytest.MonkeyPatch, found_ids: Callable[[Opened], Awaitable[list[str]]]
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        put, committed, go_on = opened.records.writer.put, asyncio.Event(), asyncio.Event()

        async def held_up(*values: Any, **options: Any) -> Any:
            results = await put(*values, **options)
            committed.set()
            await go_on.wait()
            return results

        monkeypatch.setattr(opened.records.writer, "put", held_up)
        replacing = asyncio.create_task(opened.add("default", tiny_png(9), "i1", replace=True))
        await committed.wait()
        searching = asyncio.ensure_future(found_ids(opened))
        while not searching.done() and opened.write_queue.n_open < 2:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0)
        go_on.set()
        assert await searching == ["i1", "i2"]
        await replacing

    run(story)


def test_image_is_found_by_words_that_is_replaced_once_they_were_looked_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await fill(opened)
        matching, n_replaced = opened.records.words.matching, 0

        async def late(*values: Any) -> Any:
            nonlocal n_replaced
            matches = await matching(*values)
            if not opened.write_queue.n_open:
                n_replaced += 1
                await opened.add("default", tiny_png(9 + n_replaced), "i1", replace=True)
            return matches

        monkeypatch.setattr(opened.records.words, "matching", late)
        assert await ids_with_words(opened) == ["i1", "i2"]
        assert n_replaced > 1

    run(story)
