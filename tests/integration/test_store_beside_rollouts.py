"""Images and collections change while a rollout runs or switches."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any

import pytest

from diptych.core.collections.search import (
    FetchedQuery,
    SearchInput,
    WeightedQuery,
    search_collection,
)
from diptych.core.rollout.types import Rollout
from diptych.core.types import CollectionChange, StoredImage
from integration.store_parts import Opened, Run, add_colours, look, without_urls
from integration.version_parts import Held, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


async def is_moving(opened: Opened) -> bool:
    running = (await opened.rollouts.status()).running
    return running is not None or any(not one.has_ended for one in await opened.rollouts.list())


async def activate_beside_a_newcomer(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, before_storing: Callable[[Rollout], Awaitable[None]]
) -> None:
    """Activate version 2; the collection "late" is created after the last look of the rollout."""
    put = opened.store.put_rollout

    async def put_rollout(rollout: Rollout) -> None:
        if rollout.state == "compared" and rollout.collection is None:
            await opened.collections.create("late")
        await before_storing(rollout)
        await put(rollout)

    monkeypatch.setattr(opened.store, "put_rollout", put_rollout)
    await opened.activate(TINY, 2)
    while await is_moving(opened):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


def test_changes_during_a_rollout_end_up_in_both_versions(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        await opened.collections.images.delete("default", "yellow")
        await opened.collections.images.patch("default", "red", {"new": True})
        adding = [
            asyncio.create_task(opened.add("default", picture("white"), "white")),
            asyncio.create_task(opened.add("default", picture("black"), "green", replace=True)),
        ]
        held.go_on()
        assert [(await one).status for one in adding] == ["created", "replaced"]
        await opened.end_of(rollout)
        for _ in range(2):
            ids = await opened.ids(await look(opened, "black"), k=9)
            assert ids[0] == "green"
            assert sorted(ids) == ["blue", "green", "red", "white"]
            assert (await opened.collections.images.get("default", "red")).metadata["new"] is True
            await opened.activate(TINY, 3 - opened.active.now.model.version)  # back to version 1

    run(story)


def test_collection_that_comes_to_keep_nothing_during_a_rollout_stays(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        await opened.collections.change("default", CollectionChange(keep="none"))
        adding = asyncio.create_task(opened.add("default", picture("white"), "white"))
        held.go_on()
        assert (await adding).status == "created"
        ended = await opened.end_of(rollout)
        assert "default" in ended.stays
        assert await version_of(opened) == (TINY, 1)
        assert opened.active.now.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)


def test_rollout_that_is_cancelled_during_its_switch_is_done_and_all_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, entered, go_on = opened.store.switch, asyncio.Event(), asyncio.Event()

        async def held(*values: Any, **named: Any) -> None:
            entered.set()
            await go_on.wait()
            await switch(*values, **named)

        with monkeypatch.context() as patch:
            patch.setattr(opened.store, "switch", held)
            rollout = await opened.rollouts.activate(TINY, 2)
            await entered.wait()
            cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
            await asyncio.sleep(0.01)
            go_on.set()
            assert (await cancelling).state == "active"
        assert await version_of(opened) == (TINY, 2)
        assert opened.active.now.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")
        assert (await opened.active.now.embedder.embed_text("red")).embedding.shape == (16,)
        await opened.activate(TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("red", ["blue", "green", "red", "yellow"]), (StoredImage("red"), ["blue", "green", "yellow"])],
)
def test_search_sees_an_image_that_is_replaced_after_a_switch_beside_it(
    run: Run, query: FetchedQuery, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        embedding, nearest = opened.records.embedding, opened.indexes[0].search
        has_happened = False

        async def happens_before(read: Any, *args: Any, **options: Any) -> Any:
            nonlocal has_happened
            if not has_happened:
                has_happened = True
                await opened.activate(TINY, 2)
                await opened.add("default", picture("white"), "red", replace=True)
            return await read(*args, **options)

        monkeypatch.setattr(opened.records, "embedding", partial(happens_before, embedding))
        monkeypatch.setattr(opened.indexes[0], "search", partial(happens_before, nearest))
        asked = SearchInput([WeightedQuery(query, "query")], ["default"], k=9)
        found = await search_collection(
            asked, collections=opened.collections, image_urls=without_urls(opened), reserve=lambda n: None
        )
        assert found.model.version == 2
        assert sorted(hit.id for hit in found.hits) == expected

    run(story)


def test_collection_that_is_created_during_the_switch_follows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, creating = opened.store.switch, []

        async def create_meanwhile(*values: Any, **named: Any) -> None:
            creating.append(asyncio.create_task(opened.collections.create("late")))
            await asyncio.sleep(0.01)
            await switch(*values, **named)

        with monkeypatch.context() as patch:
            patch.setattr(opened.store, "switch", create_meanwhile)
            await opened.activate("other")
        await creating[0]
        await until(lambda: opened.collections["late"].model == "other")
        assert await version_of(opened, "late") == ("other", 1)

    run(story)


def test_collection_whose_creation_began_before_the_switch_follows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        record_identity, began, go_on = opened.records.record_identity, asyncio.Event(), asyncio.Event()

        async def held_up(*values: Any) -> None:
            await record_identity(*values)
            if not began.is_set():
                began.set()
                await go_on.wait()

        monkeypatch.setattr(opened.records, "record_identity", held_up)
        creating = asyncio.create_task(opened.collections.create("late"))
        await began.wait()
        await opened.activate(TINY, 2)
        while (await opened.rollouts.status()).running is not None:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        go_on.set()
        await creating
        assert await version_of(opened, "late") == (TINY, 2)

    run(story)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_newcomer_that_changes_its_precision_before_it_follows_does_both(
    run: Run, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    async def story(opened: Opened) -> None:
        missing = opened.records.missing

        async def change_first(name: str, identity: str) -> Any:
            monkeypatch.setattr(opened.records, "missing", missing)
            await opened.rollouts.move_collection("late", precision=precision)
            return await missing(name, identity)

        async def before_storing(rollout: Rollout) -> None:
            if rollout.state == "active" and rollout.collection is None:
                monkeypatch.setattr(opened.records, "missing", change_first)

        await activate_beside_a_newcomer(opened, monkeypatch, before_storing)
        assert await version_of(opened, "late") == (TINY, 2)
        assert (await opened.collections.get("late")).precision == precision

    run(story)


def test_newcomer_that_changes_its_precision_while_it_follows_does_both(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        changing = list[asyncio.Task[Any]]()

        async def before_storing(rollout: Rollout) -> None:
            if rollout.state == "discovered" and rollout.collection == "late" and not changing:
                move = opened.rollouts.move_collection("late", precision="fp32")
                changing.append(asyncio.create_task(move))
                await asyncio.sleep(1)  # until that cancels this rollout

        await activate_beside_a_newcomer(opened, monkeypatch, before_storing)
        await changing[0]
        while await is_moving(opened):  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.001)
        assert await version_of(opened, "late") == (TINY, 2)
        assert (await opened.collections.get("late")).precision == "fp32"

    run(story)


@pytest.mark.parametrize(
    ("version", "precision"), [((TINY, 2), "int8"), ((TINY, 2), "fp32"), (("other", 1), "int8")]
)
def test_collection_whose_precision_changes_during_a_rollout_follows_the_server(
    run: Run, version: tuple[str, int], precision: str
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        rollout = await opened.rollouts.activate(*version)
        await until(held.entered.is_set)
        moving = asyncio.create_task(opened.take("default", precision))
        await asyncio.sleep(0.01)
        held.go_on()
        await opened.end_of(rollout)
        await moving
        info = await opened.collections.get("default")
        assert (info.precision, info.stays) == (precision, "")
        assert await version_of(opened) == version
        await require_found(opened, "red", "green", "blue", "yellow")

    run(story)


def test_collection_that_is_renamed_while_its_rollout_waits_is_moved(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        first = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        moving = await opened.rollouts.move_collection("default", model="other")
        assert moving is not None
        await opened.collections.change("default", CollectionChange(name="renamed"))
        held.go_on()
        await opened.end_of(first)
        await opened.end_of(moving)
        assert await version_of(opened, "renamed") == ("other", 1)

    run(story)


def test_rollout_of_a_dropped_collection_does_not_move_its_namesake(run: Run) -> None:
    async def dropped(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        assert await opened.rollouts.move_collection("default", precision="int8") is not None
        await opened.collections.drop("default")
        await opened.collections.create("default")
        held.go_on()

    async def after(opened: Opened) -> None:
        for rollout in await opened.rollouts.list():
            await opened.end_of(rollout, "cancelled" if rollout.collection else "active")
        assert (await opened.collections.get("default")).precision == "server"

    run(dropped)
    run(after)


def test_image_that_is_deleted_while_it_is_embedded_does_not_end_the_rollout(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        get, deleted = opened.images.get, list[str]()

        async def late(sha256: str) -> bytes:
            if not deleted:
                deleted.append("red")
                await opened.collections.images.delete("default", "red")
            return await get(sha256)

        monkeypatch.setattr(opened.images, "get", late)
        await opened.activate(TINY, 2)
        assert deleted
        await require_found(opened, "green", "blue", "yellow")

    run(story)


def test_rollout_ends_although_images_are_added_all_the_time(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        added: list[str] = []

        async def keep_adding(marker: int) -> None:
            for n in count():
                outcome = await opened.add("default", noise(1000 * marker + n, (16, 16)))
                assert outcome.id is not None
                added.append(outcome.id)

        adding = [asyncio.create_task(keep_adding(marker)) for marker in range(8)]
        await until(lambda: len(added) > 20)
        await opened.activate(TINY, 2)
        n_added = len(added)
        await until(lambda: len(added) > n_added + 20)
        for task in adding:
            task.cancel()
        await asyncio.gather(*adding, return_exceptions=True)
        hits = await opened.ids(await look(opened, "red"), k=10_000)
        assert set(added) <= set(hits)
        assert await version_of(opened) == (TINY, 2)

    run(story)
