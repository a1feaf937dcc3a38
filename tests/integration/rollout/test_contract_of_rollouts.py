"""What any store must do with what serves, moves of collections, unneeded vectors, and rollouts."""

from dataclasses import replace

import numpy as np
import pytest

from diptych.adapters.sqlite.rollouts import MAX_ENDED
from diptych.core.collections.stored.ports import Records
from diptych.core.rollout.types import CollectionMove, Rollout, RolloutState, ServedVersions
from diptych.core.types import CollectionInfo, NewRow, Target, VersionRef
from diptych.errors import NotFound
from integration.store_contract import Ports, Run
from integration.store_contract import opens as opens  # noqa: PLC0414 - a fixture
from integration.store_contract import run as run  # noqa: PLC0414 - a fixture

ONE = Target(VersionRef("m", 1, "a" * 64), "fp32", "exact")
TWO = Target(VersionRef("m", 2, "b" * 64), "int8", "fast")
DIM = 4


def rollout(id: str, state: RolloutState = "embedding", **values: object) -> Rollout:
    return Rollout(id, TWO, state, "2026-11-29T09:00:00.000+00:00", **values)  # type: ignore[arg-type]


DONE = rollout("done", "active")


async def info(store: Records, name: str = "c") -> CollectionInfo:
    (found,) = [one for one in await store.catalogue.list() if one.name == name]
    return found


async def add(store: Records, name: str, n_rows: int, *identities: str) -> int:
    """Make a collection that is searched with the first identity; its images have vectors of all of them.
    Return its number.
    """
    c = (await store.catalogue.create(name, "original", identities[0], ONE.ref)).number
    rows = [
        NewRow(f"i{n}", f"{n:064}", 1, "image/png", 1, 1, None, np.ones(DIM, np.float32))
        for n in range(n_rows)
    ]
    put = (await store.writer.put(c, rows, identity=identities[0], replace=False)).results
    for identity in identities[1:]:
        keys = [result.key for result in put]
        await store.vectors.put(c, keys, np.ones((n_rows, DIM), np.float32), identity)
    return c


def move(identity: str, target: Target = ONE) -> CollectionMove:
    return CollectionMove(target, identity)


def test_moved_collection_remembers_the_identity_before(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, rollouts = ports.records, ports.rollouts
        c = await add(store, "c", 1, "first")
        assert ((await info(store)).identity, (await info(store)).previous_identity) == ("first", None)
        other = Target(VersionRef("n", 3, "c" * 64), "fp32", "exact")
        await rollouts.switch(None, {c: move("second", other)}, DONE)
        found = await info(store)
        assert (found.model, found.ref, found.identity, found.previous_identity) == (
            "n", other.ref, "second", "first",
        )  # fmt: skip
        await rollouts.switch(None, {c: move("second")}, DONE)  # of another version only
        assert (await info(store)).previous_identity == "first"
        await rollouts.switch(None, {c: move("first")}, DONE)  # back
        assert ((await info(store)).identity, (await info(store)).previous_identity) == ("first", "second")

    run(story)


def test_switch_changes_all_or_nothing(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, rollouts = ports.records, ports.rollouts
        c = await add(store, "c", 1, "first")
        before = ServedVersions(ONE, None, "fp32")
        await rollouts.switch(before, {}, DONE)
        with pytest.raises(NotFound):
            await rollouts.switch(
                ServedVersions(TWO, ONE, "fp32"),
                {c: move("second"), c + 1: move("second")},
                rollout("refused", "active"),
            )
        assert await rollouts.served() == before
        assert (await info(store)).identity == "first"
        assert [one.id for one in await rollouts.rollouts(9)] == [DONE.id]

    run(story)


def test_identity_moves_along_with_the_name(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, rollouts = ports.records, ports.rollouts
        c = await add(store, "c", 1, "first")
        await rollouts.switch(None, {c: move("second")}, DONE)
        await store.catalogue.change(c, "d", "none", None)
        found = await info(store, "d")
        assert (found.identity, found.previous_identity, found.keep) == ("second", "first", "none")

    run(story)


def test_source_of_an_identity_is_the_latest_one(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store = ports.records
        await add(store, "c", 1, "first")
        assert await store.catalogue.sources() == {}
        await store.catalogue.record_source("first", ONE)
        await store.catalogue.record_source("other", ONE)
        await store.catalogue.record_source("first", TWO)
        assert await store.catalogue.sources() == {"first": TWO, "other": ONE}

    run(story)


def test_vectors_that_nothing_needs_are_forgotten(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store, rollouts = ports.records, ports.rollouts
        c = await add(store, "c", 5, "now", "before", "filling", "old", "older")
        other = await add(store, "other", 2, "old")
        await rollouts.switch(None, {c: move("before")}, DONE)
        await rollouts.switch(None, {c: move("now")}, DONE)
        forgotten = []
        while n_rows := await store.vectors.forget(c, 3, keep=["filling"]):
            forgotten.append(n_rows)
        assert sum(forgotten) == 10
        assert [len(await store.vectors.missing(c, one)) for one in ("now", "before", "filling")] == [0, 0, 0]
        assert [len(await store.vectors.missing(c, one)) for one in ("old", "older")] == [5, 5]
        assert await store.vectors.missing(other, "old") == {}
        assert await store.vectors.forget(c, 100) == 5  # those of the rollout, which has ended
        assert len(await store.vectors.missing(c, "filling")) == 5

    run(story)


def test_vectors_that_come_later_are_forgotten_too(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store = ports.records
        c = await add(store, "c", 4, "now", "old")
        n_first = await store.vectors.forget(c, 3)
        key = (await store.rows.keys(c))[0]
        await store.vectors.put(c, [key], np.ones((1, DIM), np.float32), "old")
        n_later = 0
        while n_rows := await store.vectors.forget(c, 3):
            n_later += n_rows
        assert n_first + n_later == 5

    run(story)


@pytest.mark.parametrize("opens", ["sqlite"], indirect=True)
def test_vectors_in_a_table_with_others_are_forgotten_in_small_steps(run: Run) -> None:
    """PostgreSQL drops a table of their own."""

    async def story(ports: Ports) -> None:
        c = await add(ports.records, "c", 4, "now", "old")
        assert [await ports.records.vectors.forget(c, 3) for _ in range(3)] == [3, 1, 0]

    run(story)


def test_no_vector_of_a_collection_that_is_gone_is_forgotten(run: Run) -> None:
    async def story(ports: Ports) -> None:
        store = ports.records
        c = await add(store, "c", 1, "first")
        assert await store.vectors.forget(c + 1, 10) == 0
        assert await store.vectors.missing(c, "first") == {}

    run(story)


def test_rollouts_are_kept_newest_first_and_are_replaced_in_place(run: Run) -> None:
    whole = rollout(
        "b", "active", reason="why", finished_at="later",
        stays={"d": "keeps no images"}, comparison={"overlap": 0.5, "queries": [1, 2]}, despite_labels=True,
    )  # fmt: skip

    async def before(ports: Ports) -> None:
        rollouts = ports.rollouts
        for id in ("a", "b", "c"):
            await rollouts.put_rollout(rollout(id))
        await rollouts.put_rollout(whole)

    async def after(ports: Ports) -> None:
        rollouts = ports.rollouts
        assert await rollouts.rollouts(10) == [rollout("c"), whole, rollout("a")]
        assert await rollouts.rollouts(1) == [rollout("c")]

    run(before)
    run(after)


def test_old_rollouts_that_have_ended_are_forgotten(run: Run) -> None:
    async def story(ports: Ports) -> None:
        rollouts = ports.rollouts
        await rollouts.put_rollout(rollout("first"))
        for n in range(MAX_ENDED + 2):
            await rollouts.put_rollout(rollout(f"{n}", "failed"))
        await rollouts.put_rollout(rollout("last", "failed"))
        kept = [one.id for one in await rollouts.rollouts(1000)]
        assert kept == ["last", *(str(n) for n in reversed(range(3, MAX_ENDED + 2))), "first"]

    run(story)


def test_newest_rollout_of_the_server_to_each_version_is_kept(run: Run) -> None:
    async def story(ports: Ports) -> None:
        rollouts = ports.rollouts
        await rollouts.put_rollout(replace(rollout("older", "active"), target=ONE))
        await rollouts.put_rollout(replace(rollout("tried", "failed"), target=ONE))
        for n in range(MAX_ENDED + 1):
            await rollouts.put_rollout(rollout(f"{n}", "active"))
        kept = [one.id for one in await rollouts.rollouts(1000)]
        assert kept == [*(str(n) for n in reversed(range(1, MAX_ENDED + 1))), "tried"]

    run(story)
