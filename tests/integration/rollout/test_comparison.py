"""Versions are compared before a switch, and a bound on their overlap refuses it."""

import asyncio

import pytest

from diptych.core.labels.label_set import Definition, Label, NewVerdict
from diptych.core.labels.service import LabelQuery
from diptych.core.rollout.types import Rollout
from diptych.core.types import NewImage
from diptych.errors import Conflict, InvalidValue, NotFound
from integration.store_parts import COLOURS, EncoderGate, Opened, Run
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1})
N = 30
KIND = Definition(tuple(map(Label, COLOURS)))


async def add_noise(opened: Opened) -> None:
    """Add pictures that have a colour as name, as id, or no name at all."""
    named = {"first": {"name": "red"}, "blue-sky": {}, None: {}}
    items = [NewImage(noise(n), id, metadata) for n, (id, metadata) in enumerate(named.items())]
    items += [NewImage(noise(seed), f"{seed:02}", {"name": "red"}) for seed in range(len(items), N)]
    outcomes = (await opened.collections.add_many("default", items)).outcomes
    assert {one.status for one in outcomes} == {"created"}


def test_a_rollout_stores_what_it_changes(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        rollout = await opened.activate(TINY, 2)
        (stored,) = [one for one in await opened.store.rollouts(9) if one.id == rollout.id]
        for comparison in (rollout.comparison, stored.comparison):
            assert comparison is not None
            (found,) = comparison["collections"]
            assert (found["collection"], found["n_images"], found["coverage"]) == ("default", N, 1.0)
            assert (found["old"]["version"], found["new"]["version"]) == (1, 2)
            assert found["new"]["golden_cosine_min"] == 0.99999
            assert found["n_queries"] == N + 2
            assert 0 < found["overlap_at_10"] < 1
            assert 0 < len(found["changed"]) <= 20
            overlaps = [one["overlap"] for one in found["changed"]]
            assert overlaps == sorted(overlaps)
            for one in found["changed"]:
                assert one["id"] not in {*one["old"], *one["new"]}
                assert len(one["old"]) == len(one["new"]) == 10
                shared = len({*one["old"]} & {*one["new"]})
                assert one["overlap"] == pytest.approx(shared / 10)

    run(story)


def test_a_gate_refuses_the_switch_and_the_old_version_serves_on(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        rollout = await opened.activate(TINY, 2, state="failed")
        assert "overlap@10" in rollout.reason
        assert "min_overlap is 0.99" in rollout.reason
        assert rollout.comparison is not None
        assert rollout.comparison["unmet"] == [rollout.reason]
        assert opened.serving.current.version.ref.version == 1
        assert opened.pair().version.ref.version == 1
        assert len(await opened.ids((await opened.embedder.embed_text("red")).embedding)) == 10

    run(story, min_overlap=0.99)


async def confirm(opened: Opened, n: int = 100) -> None:
    """Give a label set to noise, and confirm what version 1 says of the first images."""
    await add_noise(opened)
    await opened.label_sets.put("default", "kind", KIND)
    page = await opened.label_sets.images("default", "kind", LabelQuery(limit=n))
    said = [NewVerdict(image.id, image.assignment.proposed) for image in page.images]
    await opened.label_sets.give("default", "kind", said, "ann")


async def n_agreeing(opened: Opened) -> int:
    report = await opened.label_sets.report("default", "kind")
    return report.agreement.images.n_agree


COMMAND = "diptych models activate tiny 2 --precision fp32 --despite-labels"


async def held_by_itself(opened: Opened) -> None:
    """Wait until the rollout that the settings start is refused."""
    begun = {one.id for one in await opened.rollouts.list()}
    while len(rollouts := await opened.rollouts.list()) == len(begun):  # noqa: ASYNC110 - has no event
        await asyncio.sleep(0.001)
    held = await opened.end_of(rollouts[0], "failed")
    assert "label set 'kind': agrees with people on" in held.reason
    assert held.reason.endswith(f"To serve it all the same: {COMMAND}")
    assert opened.pair().version.ref.version == 1


def test_version_that_loses_labels_is_refused_whoever_activates_it_and_how_often(run: Run) -> None:
    async def is_activated(opened: Opened) -> None:
        for _ in range(2):
            held = await opened.activate(TINY, 2, state="failed")
            assert held.reason.endswith(COMMAND)
            assert held.comparison is not None
            (labels,) = held.comparison["collections"][0]["labels"]
            assert (labels["n"], labels["n_agree_old"], labels["n_gained"]) == (N, N, 0)
            assert labels["n_lost"] == N - labels["n_agree_new"] > 5
        assert (await n_agreeing(opened), opened.pair().version.ref.version) == (N, 1)

    async def is_judged_by_the_label_sets_of_now(opened: Opened) -> None:
        await opened.label_sets.drop("default", "kind")
        await opened.activate(TINY, 2)

    run(confirm)
    run(held_by_itself, manual=False)
    run(held_by_itself, pinned=2)
    run(is_activated)
    run(is_judged_by_the_label_sets_of_now)


def test_version_that_loses_labels_serves_despite_them_on_demand(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await confirm(opened)
        rollout = await opened.activate(TINY, 2, despite_labels=True)
        assert rollout.comparison is not None
        assert rollout.comparison["unmet"] == []
        (labels,) = rollout.comparison["collections"][0]["labels"]
        assert labels["n_agree_new"] == await n_agreeing(opened)

    run(story)


def test_version_that_loses_labels_is_compared_again_after_a_rollback_which_is_not(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await confirm(opened)
        await opened.activate(TINY, 2, despite_labels=True)
        assert (await opened.rolled_back()).comparison is None
        held = await opened.activate(TINY, 2, state="failed")
        assert held.reason.endswith(COMMAND)
        await opened.activate(TINY, 2, despite_labels=True)
        assert (
            await opened.activate(TINY, 1)
        ).comparison is not None  # by its number it is any other version

    run(story)


def test_demand_joins_the_rollout_that_the_watcher_began(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await confirm(opened)
        gate = EncoderGate(opened)
        begun = await opened.rollouts.activate(TINY, 2)
        await until(gate.entered.is_set)
        joined = await opened.rollouts.activate(TINY, 2, despite_labels=True)
        assert joined.id == begun.id
        assert (await opened.store.rollouts(1))[0].despite_labels  # also after a restart
        assert await opened.rollouts.activate(TINY, 2) == joined
        gate.open()
        await opened.end_of(begun)

    run(story)


def test_demand_wins_over_a_rollout_that_is_being_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(opened: Opened) -> None:
        await confirm(opened)
        store, demanded = opened.store.put_rollout, list[Rollout]()

        async def put(rollout: Rollout) -> None:
            if rollout.state == "compared" and not demanded:
                demanded.append(await opened.rollouts.activate(TINY, 2, despite_labels=True))
            await store(rollout)

        monkeypatch.setattr(opened.store, "put_rollout", put)
        await opened.activate(TINY, 2, state="failed")
        await opened.end_of(demanded[0])
        assert opened.pair().version.ref.version == 2

    run(story)


def test_version_that_loses_no_more_than_chance_explains_serves(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await confirm(opened, n=4)
        rollout = await opened.activate(TINY, 2)
        assert rollout.comparison is not None
        (labels,) = rollout.comparison["collections"][0]["labels"]
        assert (labels["label_set"], labels["n"], labels["agrees_less"]) == ("kind", 4, False)

    run(story)


def test_versions_are_compared_while_both_have_vectors(run: Run) -> None:
    async def story(opened: Opened) -> None:
        old, new = (TINY, 1), (TINY, 2)
        await add_noise(opened)
        with pytest.raises(Conflict, match="no collection has vectors of tiny/1 and of tiny/2"):
            await opened.comparer.versions(old, new)
        await opened.activate(TINY, 2)
        there, back = [await opened.comparer.versions(*both) for both in ((old, new), (new, old))]
        (one,), (other,) = there.collections, back.collections
        assert one.overlap_at_10 == pytest.approx(other.overlap_at_10)
        assert [change.old for change in one.changed] == [change.new for change in other.changed]
        assert (await opened.comparer.versions(old, new, "default")) == there
        with pytest.raises(NotFound):
            await opened.comparer.versions(old, new, "nowhere")
        await opened.collections.create("later")
        (later,) = (await opened.comparer.versions(old, new, "later")).collections
        assert (later.n_images, later.n_queries) == (0, 0)
        with pytest.raises(Conflict, match="collection 'later' does not have"):
            await opened.comparer.versions(old, (TINY, 3), "later")
        with pytest.raises(InvalidValue):
            await opened.comparer.versions(old, old)

    run(story)


def test_images_that_a_rollout_has_not_embedded_yet_do_not_count_as_changes(run: Run) -> None:
    async def story(opened: Opened) -> None:
        await add_noise(opened)
        gate = EncoderGate(opened)
        rollout = await opened.rollouts.activate(TINY, 2)
        await until(gate.entered.is_set)
        (found,) = (await opened.comparer.versions((TINY, 1), (TINY, 2))).collections
        assert (found.coverage, found.n_queries, found.overlap_at_10) == (0, 0, None)
        gate.open()
        await opened.end_of(rollout)

    run(story)
