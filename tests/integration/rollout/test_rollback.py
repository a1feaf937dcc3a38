"""The version that served before is kept up, and a rollback returns to it."""

import asyncio
from itertools import count
from typing import Any

import pytest

from diptych.core.rollout import previous
from integration.store_parts import Opened, Run, add_colours
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
        assert (status.previous.target.ref.version, status.previous.n_lagging) == (1, 1)
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


def test_collection_that_cannot_go_back_does_not_lag_for_ever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previous, "CATCH_UP_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.activate(TINY, 2)
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        await caught_up(opened)
        rollout = await opened.activate(TINY, 1)
        assert list(rollout.stays) == ["bare"]

    run(story)


def test_switch_that_is_cancelled_again_and_again_keeps_the_way_back_and_the_precision(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        switch, began, go_on = opened.store.switch, asyncio.Event(), asyncio.Event()

        async def held_up(*values: Any) -> None:
            began.set()
            await go_on.wait()
            await switch(*values)

        monkeypatch.setattr(opened.store, "switch", held_up)
        rollout = await opened.rollouts.activate(TINY, 1, "int8")
        await began.wait()
        cancelling = [asyncio.create_task(opened.rollouts.cancel(rollout.id)) for _ in range(3)]
        await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(*cancelling, return_exceptions=True)
        served, status = await opened.store.served(), await opened.rollouts.status()
        assert served is not None
        assert status.previous is not None
        assert (served.active.precision, served.wanted, status.active.precision) == ("int8",) * 3
        assert served.previous == status.previous.target
        assert status.previous.target.precision == "fp32"
        assert (await opened.rollouts.get(rollout.id)).state == "active"

    run(story)


def test_activations_at_the_same_moment_are_one_rollout_or_the_last_one(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        same = await asyncio.gather(*(opened.rollouts.activate(TINY, 2) for _ in range(3)))
        assert len({one.id for one in same}) == 1
        await opened.end_of(same[0])
        first, second = await asyncio.gather(
            opened.rollouts.activate(TINY, 1), opened.rollouts.activate(TINY, 2, "int8")
        )
        await opened.end_of(second)
        assert (await opened.rollouts.get(first.id)).state == "cancelled"

    run(story)


def test_activation_of_what_serves_is_a_rollout_that_can_be_asked_for(run: Run) -> None:
    async def story(opened: Opened) -> None:
        rollout = await opened.rollouts.activate(TINY, 1)
        assert (await opened.rollouts.get(rollout.id)).state == rollout.state == "active"

    run(story)


def test_vectors_for_the_way_back_outlast_a_rollout_that_is_cancelled(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.collections.create("later")
        number = opened.collections["later"].number
        await opened.add("later", picture("red"), "red")
        await caught_up(opened)
        way_back = opened.serving.pairs(number)[-1].identity
        held = Held(opened)
        rollout = await opened.rollouts.activate(TINY, 2, "int8")
        await until(held.entered.is_set)
        cancelling = asyncio.create_task(opened.rollouts.cancel(rollout.id))
        await asyncio.sleep(0.01)
        held.go_on()
        await cancelling
        await asyncio.sleep(0.05)  # vectors that nothing needs are deleted
        assert await opened.records.vectors.missing(number, way_back) == {}

    run(story)
