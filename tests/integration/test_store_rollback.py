"""The version that served before is kept up, and a rollback returns to it."""

import asyncio
from itertools import count
from typing import Any

import numpy as np
import pytest

from diptych.core.rollout import previous
from diptych.core.types import CollectionChange
from diptych.errors import Conflict, NotReady
from integration.store_parts import COLOURS, Opened, Run, add_colours
from integration.version_parts import Held, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


async def require_immediate_rollback(opened: Opened) -> None:
    """Go back to version 1 without encoding anything."""
    encoded = Held(opened)
    await opened.activate(TINY, 1)
    assert not encoded.entered.is_set()
    encoded.go_on()


async def caught_up(opened: Opened) -> None:
    """Wait until a rollback would be immediate."""
    while (previous := (await opened.rollouts.status()).previous) is None or previous.n_lagging:  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


def test_rollback_is_immediate_once_the_former_version_has_caught_up(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        status = await opened.rollouts.status()
        assert status.previous is not None
        assert (status.previous.ref.version, status.previous.n_lagging) == (1, 1)
        n_loaded = len(opened.versions.loaded())
        await opened.activate(TINY, 1)
        assert len(opened.versions.loaded()) == n_loaded == 2
        assert await version_of(opened) == (TINY, 1)
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)


def test_collection_that_is_created_after_a_switch_can_go_back_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        held, batches = Held(opened), count()
        hold = opened.before_encode
        opened.before_encode = lambda: hold() if next(batches) else None
        await opened.collections.create("late")
        await opened.add("late", picture("red"), "red")
        status = await opened.rollouts.status()
        assert status.previous is not None
        assert status.previous.n_lagging == 1
        held.go_on()
        await caught_up(opened)
        await require_immediate_rollback(opened)
        assert await version_of(opened, "late") == (TINY, 1)
        assert (await opened.collections.get("late")).n_embedded == 1

    run(story)


def test_collection_that_is_moved_after_a_switch_can_go_back_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.take("default", "int8")
        await caught_up(opened)
        await require_immediate_rollback(opened)
        assert opened.collections["default"].current.identity == f"{TINY}/1/int8"
        await require_found(opened, *COLOURS)

    run(story)


def test_collection_that_cannot_go_back_does_not_lag_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        opened.refused.append(f"{TINY}/1/int8")
        await opened.collections.create("refused", precision="int8")
        await opened.add("refused", picture("red"), "red")
        await caught_up(opened)
        rollout = await opened.activate(TINY, 1)
        assert sorted(rollout.stays) == ["bare", "refused"]

    run(story)


def test_vectors_of_a_version_that_is_not_kept_are_deleted(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        (before,) = await opened.records.collections()
        assert before.identity is not None
        await opened.activate(TINY, 2)
        async with asyncio.timeout(20):
            while len(await opened.records.missing("default", before.identity)) < len(COLOURS):  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.01)
        (after,) = await opened.records.collections()
        assert after.previous_identity is None
        assert await opened.records.missing("default", after.identity or "") == {}

    run(story, keeps_previous=False)


def test_vectors_for_a_rollback_are_kept_whatever_precision_the_collection_had_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moved(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.take("default", "int8")

    async def after(opened: Opened) -> None:
        collection = opened.collections["default"]
        await until(lambda: collection.previous is not None and not collection.previous.pending)
        held = Held(opened)
        rollout = await opened.rollouts.activate("other")
        await until(held.entered.is_set)
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        await cancelling
        await opened.activate(TINY, 1)
        assert await version_of(opened) == (TINY, 1)
        assert await opened.records.missing("default", collection.all_vectors[0].identity) == {}

    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)
    run(moved)
    run(after, version=2)


def test_rollback_now_does_not_wait_for_what_the_former_version_lacks(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 1, now=True)
        await opened.end_of(rollout)
        assert len(await opened.ids(np.eye(16, dtype=np.float32)[0])) == 4
        assert (await opened.collections.get("default")).n_embedded == 4
        with pytest.raises(NotReady, match="which images cannot be found is not known yet"):
            await opened.collections.images.delete_matching("default", None, lacking=True, preview=False)
        held.go_on()
        await until(lambda: not opened.collections["default"].all_vectors[0].pending)
        await require_found(opened, "red", "green", "blue", "yellow", "white")
        with pytest.raises(Conflict, match="other/1 was not active before"):
            await opened.rollouts.activate("other", 1, now=True)

    run(story)


def test_restart_after_a_rollback_now_answers_with_what_has_vectors(run: Run) -> None:
    def fail(items: Any, on_start: Any) -> Any:
        raise RuntimeError("cannot be encoded")

    async def lags(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        opened.encode_image = fail
        await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        await opened.collections.change("default", CollectionChange(name="renamed"))
        await opened.collections.change("renamed", CollectionChange(name="default"))

    held: list[Held] = []

    async def again(opened: Opened) -> None:
        assert (await opened.collections.get("default")).state == "ready"
        assert sorted(await opened.ids(np.eye(16, dtype=np.float32)[0])) == sorted(COLOURS)
        held[0].go_on()
        await until(lambda: not opened.collections["default"].all_vectors[0].pending)
        await require_found(opened, *COLOURS, "white")

    run(lags)
    run(again, before=lambda opened: held.append(Held(opened)))


def test_images_that_a_rollback_now_left_out_give_way_to_requests(run: Run) -> None:
    class Paced:
        n_pauses = 0

        async def pause(self, worked_s: float, encoded_s: float) -> None:
            self.n_pauses += 1

    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        opened.pace = paced = Paced()
        await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        await until(lambda: paced.n_pauses)
        await require_found(opened, *COLOURS, "white")

    run(story)


def test_rollback_now_leaves_a_collection_that_would_lose_images(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.collections.change("default", CollectionChange(keep="none"))
        await opened.add("default", picture("white"), "white")
        rollout = await opened.end_of(await opened.rollouts.activate(TINY, 1, now=True))
        assert dict(rollout.stays) == {"default": "images were added that it does not keep"}
        assert opened.active.now.model.version == 1
        assert await version_of(opened) == (TINY, 2)
        await require_found(opened, "red", "green", "blue", "yellow", "white")

    run(story)
