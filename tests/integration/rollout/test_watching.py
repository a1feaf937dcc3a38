"""The server moves by itself: by its policy, by its settings, and for collections that were left behind."""

import asyncio
import shutil
from pathlib import Path

import pytest

from diptych.core.rollout import known, watcher
from integration.store_parts import COLOURS, Opened, Run, add_colours
from integration.version_parts import Held, require_found, version_of
from support.fixtures import model_repo_fixture
from support.pictures import picture
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1}, {"name": "other", "seed": 2})


def test_latest_policy_follows_new_versions_and_a_rollback_stays(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_colours(opened)
        await until(lambda: opened.serving.current.version.model.version == 2)
        await opened.activate(TINY, 1)
        await asyncio.sleep(0.1)  # several looks at the repository
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

    run(add_colours, asked_model=TINY)
    run(started_with_another_name, asked_model="other")
    run(started_again, version=2, asked_model="other")


def test_version_that_the_settings_name_is_served_though_it_served_before(run: Run) -> None:
    async def rolled_over(opened: Opened) -> None:
        await add_colours(opened)
        await opened.activate(TINY, 2)

    async def pinned(opened: Opened) -> None:
        assert (await opened.rollouts.status()).policy == "pinned"
        await until(lambda: opened.serving.current.version.model.version == 1)
        await require_found(opened, "red", "green", "blue", "yellow")

    async def absent(opened: Opened) -> None:
        await asyncio.sleep(0.1)
        assert opened.serving.current.version.model.version == 2

    run(rolled_over)
    run(pinned, version=2, pinned=1)
    run(absent, version=2, pinned=7)


def test_model_that_the_settings_name_is_waited_for(run: Run, model_repo: Path) -> None:
    async def started(opened: Opened) -> None:
        assert opened.serving.current.version.model.name == TINY

    async def comes(opened: Opened) -> None:
        assert opened.serving.current.version.model.name == TINY
        elsewhere.rename(model_repo / "other")
        await until(lambda: opened.serving.current.version.model.name == "other")

    run(add_colours)
    elsewhere = (model_repo / "other").rename(model_repo.parent / "other-elsewhere")
    run(started, asked_model="other")
    run(comes, asked_model="other")


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


def test_precision_that_the_settings_name_and_no_version_has_leaves_what_serves(run: Run) -> None:
    async def story(opened: Opened) -> None:
        assert all(one.has_ended for one in await opened.rollouts.list())
        assert opened.serving.current.version.model.precision == "fp32"

    run(add_colours)
    run(story, asked_precision="int4")


def test_precision_that_the_settings_name_is_that_of_the_rollout_under_way(run: Run) -> None:
    async def stopped(opened: Opened) -> None:
        await add_colours(opened)
        held = Held(opened)
        await opened.rollouts.activate(TINY, 2)
        await until(held.entered.is_set)
        held.go_on()

    async def resumed(opened: Opened) -> None:
        await opened.end_of((await opened.rollouts.list())[0])
        model = opened.serving.current.version.model
        assert (model.name, model.version, model.precision) == (TINY, 2, "int8")

    async def another_model(opened: Opened) -> None:
        await opened.end_of((await opened.rollouts.list())[0])
        model = opened.serving.current.version.model
        assert (model.name, model.precision) == ("other", "fp32")

    run(stopped, asked_model=TINY)
    run(resumed, asked_precision="int8")
    run(another_model, version=2, precision="int8", asked_model="other", asked_precision="fp32")


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


def test_version_that_was_left_is_not_tried_again_however_often_others_are_activated(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_SHOWN", 2)
    monkeypatch.setattr(known, "MAX_KNOWN", 4)

    async def story(opened: Opened) -> None:
        await until(lambda: opened.serving.current.version.model.version == 2)
        for _ in range(3):
            await opened.activate("other")
            last = await opened.activate(TINY, 1)
        looks, newest = list[str](), opened.bundles.newest
        monkeypatch.setattr(opened.bundles, "newest", lambda *args: [newest(*args), looks.append(args[0])][0])
        await until(lambda: len(looks) > 3)
        assert (await opened.rollouts.list())[0].id == last.id

    run(story, manual=False)
