"""Images and collections change while a rollout runs or switches."""

import asyncio
from functools import partial
from itertools import count
from typing import Any

import pytest

from diptych.core.collections.search import (
    FetchedQuery,
    SearchInput,
    WeightedQuery,
    search_images,
)
from diptych.core.types import CollectionChange, NewVector, StoredImage, VectorOrigin
from diptych.errors import Conflict
from integration.store_parts import Opened, Run, add_colours, look, without_urls
from integration.version_parts import Held, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


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
            await opened.activate(TINY, 3 - opened.serving.current.version.model.version)  # back to version 1

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
        assert opened.serving.current.version.model.version == 2
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
        assert opened.serving.current.version.model.version == 2
        await require_found(opened, "red", "green", "blue", "yellow")
        assert (await opened.serving.current.version.embedder.embed_text("red")).embedding.shape == (16,)
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
        embedding, nearest = opened.records.vectors.find, opened.indexes[0].search
        has_happened = False

        async def happens_before(read: Any, *args: Any, **options: Any) -> Any:
            nonlocal has_happened
            if not has_happened:
                has_happened = True
                await opened.activate(TINY, 2)
                await opened.add("default", picture("white"), "red", replace=True)
            return await read(*args, **options)

        monkeypatch.setattr(opened.records.vectors, "find", partial(happens_before, embedding))
        monkeypatch.setattr(opened.indexes[0], "search", partial(happens_before, nearest))
        asked = SearchInput([WeightedQuery(query, "query")], ["default"], k=9)
        found = await search_images(
            asked,
            serving=opened.serving,
            collections=opened.collections,
            image_urls=without_urls(opened),
            reserve=lambda n: None,
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


def test_collections_that_are_renamed_or_made_anew_during_a_rollout_follow(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.collections.create("dropped")
        await opened.add("dropped", picture("red"), "red")
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        await opened.collections.change("default", CollectionChange(name="renamed"))
        await opened.collections.drop("dropped")
        await opened.collections.create("dropped")
        held.go_on()
        await opened.end_of(rollout)
        for name, n_images in {"renamed": 4, "dropped": 0}.items():
            assert await version_of(opened, name) == (TINY, 2)
            assert (await opened.collections.get(name)).n_embedded == n_images

    run(story)


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


def test_vectors_whose_origin_names_no_precision_are_stored_after_a_switch_that_came_before_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        find, began = opened.records.rows.find, list[str]()

        async def late(*values: Any) -> Any:
            if not began:
                began.append("once")
                await opened.activate(TINY, 1, precision="int8")
            return await find(*values)

        monkeypatch.setattr(opened.records.rows, "find", late)
        vector = await look(opened, "red")
        added = await opened.collections.add_vectors(
            "default", VectorOrigin(TINY, 1), [NewVector(vector, "ready-made")]
        )
        assert ([one.status for one in added.outcomes], added.model.precision) == (["created"], "int8")
        assert "ready-made" in await opened.ids(vector, k=9)
        began.clear()
        with pytest.raises(Conflict, match="fp32"):
            await opened.collections.add_vectors(
                "default", VectorOrigin(TINY, 1, precision="fp32"), [NewVector(vector, "of fp32")]
            )

    run(story)
