"""The version that served before is kept up for a rollback, and the server moves by itself as it is told."""

import asyncio
import shutil
from itertools import count
from pathlib import Path

import pytest

from diptych.core.rollout import previous, watcher
from integration.store_parts import COLOURS, Opened, Run, add_colours
from integration.version_parts import Held, counted_looks, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


async def require_immediate_rollback(opened: Opened) -> None:
    """Go back without encoding anything."""
    encoded = Held(opened)
    await opened.rolled_back()
    assert not encoded.entered.is_set()
    encoded.go_on()


async def caught_up(opened: Opened) -> None:
    """Wait until a rollback would be immediate."""
    while (previous := (await opened.rollouts.status()).previous) is None or previous.n_lagging:  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)


async def until_looked_again() -> None:
    """Wait for two whole looks at the model repository."""
    with counted_looks() as n_looks:
        await until(lambda: n_looks() > 2)


def test_rollback_is_immediate_once_the_former_version_has_caught_up(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)
        await opened.add("default", picture("white"), "white")
        status = await opened.rollouts.status()
        assert status.previous is not None
        assert (status.previous.target.ref.version, status.previous.n_lagging) == (1, 1)
        n_loaded = len(opened.versions.loaded())
        await opened.rolled_back()
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
        rollout = await opened.rolled_back()
        assert list(rollout.stays) == ["bare"]

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


def test_latest_policy_follows_new_versions_and_a_rollback_stays(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await until(lambda: opened.serving.current.version.model.version == 2)
        await opened.rolled_back()
        await until_looked_again()
        assert opened.serving.current.version.model.version == 1

    run(story, manual=False)


def test_version_that_fails_does_not_hide_an_older_new_one(run: Run, model_repo: Path) -> None:
    shutil.copytree(model_repo / TINY / "2", model_repo / TINY / "3")  # its manifest says that it is 2

    async def story(opened: Opened) -> None:
        await until(lambda: opened.serving.current.version.model.version == 2)
        assert list(opened.rollouts.failures(TINY)) == [3]
        assert opened.metrics.rollouts["failed"] == 1

    run(story, manual=False)


def test_model_that_the_settings_name_is_activated_once_and_what_serves_wins_after_that(run: Run) -> None:
    async def started_with_another_name(opened: Opened) -> None:
        assert await version_of(opened) == (TINY, 1)
        await until(lambda: opened.serving.current.version.model.name == "other")
        await until(lambda: opened.serving.next is None)
        assert await version_of(opened) == ("other", 1)
        await opened.activate(TINY, 2)

    async def started_again(opened: Opened) -> None:
        assert await opened.rollouts.status() is not None
        for rollout in await opened.rollouts.list():
            assert rollout.has_ended
        assert opened.serving.current.version.model.name == TINY

    run(add_colours, configured_model=TINY)
    run(started_with_another_name, configured_model="other")
    run(started_again, version=2, configured_model="other")


def test_version_that_the_settings_name_is_served_though_it_served_before(run: Run) -> None:
    async def rolled_over(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)

    async def pinned(opened: Opened) -> None:
        assert (await opened.rollouts.status()).policy == "pinned"
        await until(lambda: opened.serving.current.version.model.version == 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    async def absent(opened: Opened) -> None:
        await until_looked_again()
        assert opened.serving.current.version.model.version == 2

    run(rolled_over)
    run(pinned, version=2, pinned=1)
    run(absent, version=2, pinned=7)


def test_precision_that_the_settings_name_is_rolled_out_and_recorded(run: Run) -> None:
    async def another(opened: Opened) -> None:
        assert opened.serving.current.version.model.precision == "fp32"
        await until(lambda: opened.serving.current.version.model.precision == "int8")
        await require_found(opened, *COLOURS)

    async def none_is_named(opened: Opened) -> None:
        assert all(one.has_ended for one in await opened.rollouts.list())
        await opened.activate(TINY, 2)
        assert opened.serving.current.version.model.precision == "int8"

    run(add_colours)
    run(another, asked_precision="int8")
    run(none_is_named, precision="int8")


def test_collection_follows_again_soon_after_what_held_it_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LOOK_AT_STAYS_S", 0.01)

    async def story(opened: Opened) -> None:
        await opened.collections.create("bare", "none")
        await opened.add("bare", picture("red"), "red")
        await opened.activate(TINY, 2)
        assert (await opened.collections.get("bare")).stays
        await opened.collections.images.delete("bare", "red")
        await until(lambda: opened.pair("bare").version is opened.serving.current.version)
        assert (await opened.collections.get("bare")).stays == ""

    run(story)
