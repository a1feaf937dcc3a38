"""The version that served before is kept up, and a rollback returns to it."""

import asyncio
from itertools import count

import pytest

from diptych.core.rollout import previous
from integration.store_parts import Opened, Run, add_colours
from integration.version_parts import Held, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import picture
from support.tiny_bundle import TINY

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
