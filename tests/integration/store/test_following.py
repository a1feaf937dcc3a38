"""Collections of two servers over one PostgreSQL database: what one does while the other one writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.postgres.store import PostgresStore
from diptych.core.collections import search
from diptych.core.collections.metadata.filters import Eq
from diptych.core.rollout.ports import of_rollout
from diptych.core.types import StoredImage
from diptych.errors import StoreUnavailable
from integration.store_parts import Opened
from support.fixtures import model_repo_fixture
from support.one_search import search_by
from support.pictures import noise
from support.postgres import Cluster
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

model_repo = model_repo_fixture({}, {"seed": 1})

IS_TRASH = Eq(("state",), "trash")

Story = Callable[[Opened, Opened], Awaitable[None]]
Run = Callable[[Story], None]


@dataclass(frozen=True)
class Servers:
    """What the servers have in common: model repository, database, the folder of their folders."""

    model_repo: Path
    url: str
    folder: Path

    def opened(self, name: str) -> Opened:
        originals = self.folder / "originals"
        originals.mkdir(exist_ok=True)
        records = PostgresStore(self.url, self.folder / name, originals=originals)
        return Opened(self.model_repo, originals, 1, records=records)


@pytest.fixture
def servers(model_repo: Path, postgres_cluster: Cluster, tmp_path: Path) -> Servers:
    return Servers(model_repo, postgres_cluster.url(), tmp_path)


@pytest.fixture
def run(servers: Servers) -> Run:
    def run_story(story: Story) -> None:
        async def whole() -> None:
            async with servers.opened("one") as one, servers.opened("other") as other:
                await story(one, other)

        asyncio.run(whole())

    return run_story


def once_before_deleting(server: Opened, act: Callable[[], Awaitable[object]]) -> None:
    """Do something the next time that a server has chosen what it deletes."""
    available = server.images.require_available

    async def acting() -> None:
        server.images.require_available = available  # type: ignore[method-assign]
        await act()
        await available()

    server.images.require_available = acting  # type: ignore[method-assign]


async def delete_trash(server: Opened) -> int:
    deleted = await server.collections.images.delete_matching(
        "default", IS_TRASH, lacking=False, preview=False
    )
    return deleted.n_images


async def add_trash(server: Opened, *ids: str) -> None:
    for n, id in enumerate(ids):
        await server.add("default", noise(n), id, {"state": "trash"})


def test_image_that_stops_to_match_before_it_is_deleted_stays(run: Run) -> None:
    async def story(one: Opened, other: Opened) -> None:
        await add_trash(one, "a", "b")
        await other.collections.catch_up()
        once_before_deleting(one, lambda: other.collections.images.patch("default", "a", {"state": "keep"}))
        assert await delete_trash(one) == 1
        assert await one.listed() == ["a"]
        assert (await one.collections.images.original("default", "a"))[0] == noise(0)

    run(story)


def test_image_that_changes_and_still_matches_is_deleted(run: Run) -> None:
    async def story(one: Opened, other: Opened) -> None:
        await add_trash(one, "a", "b")
        await other.collections.catch_up()
        once_before_deleting(one, lambda: other.collections.images.patch("default", "a", {"seen": True}))
        assert await delete_trash(one) == 2
        assert await one.listed() == []

    run(story)


def test_image_that_stopped_to_match_on_another_server_stays_though_the_filter_was_cached(run: Run) -> None:
    async def story(one: Opened, other: Opened) -> None:
        await add_trash(one, "a", "b")
        number = one.collections["default"].number
        assert len((await one.records.filtered.passing(number, IS_TRASH)).keys) == 2
        await other.collections.catch_up()
        await other.collections.images.patch("default", "a", {"state": "keep"})
        assert await delete_trash(one) == 1
        assert await one.listed() == ["a"]

    run(story)


def failing_once(server: Opened, act: Callable[[], Awaitable[object]]) -> None:
    """Do something, which may raise, the next time that a server reads the vectors of a collection."""
    last_change = server.records.vectors.last_change

    async def acting(c: int) -> int:
        server.records.vectors.last_change = last_change  # type: ignore[method-assign]
        await act()
        return await last_change(c)

    server.records.vectors.last_change = acting  # type: ignore[method-assign]


def test_collection_that_could_not_be_opened_is_opened_by_the_next_look(run: Run) -> None:
    async def story(one: Opened, other: Opened) -> None:
        await other.collections.catch_up()
        await one.collections.create("pets")
        await one.add("pets", noise(1), "a")

        async def fail() -> None:
            raise StoreUnavailable("the database cannot be reached")

        failing_once(other, fail)
        with pytest.raises(StoreUnavailable):
            await other.collections.catch_up()
        await other.collections.catch_up()
        assert other.pair("pets").index.unindexed == set()
        query = [1.0] * other.pair("pets").model.embed_dim
        assert [hit.id for hit in await other.search("pets", query)] == ["a"]
        assert (await other.collections.get("pets")).n_images == 1

    run(story)


def test_collection_that_is_dropped_while_another_server_opens_it_hinders_nothing(run: Run) -> None:
    async def story(one: Opened, other: Opened) -> None:
        await other.collections.catch_up()
        await one.collections.create("pets")
        await one.collections.create("toys")
        failing_once(other, lambda: one.collections.drop("pets"))
        await other.collections.catch_up()
        await other.collections.catch_up()
        names = [info.name for info in await other.collections.list()]
        assert names == ["default", "toys"]

    run(story)


def test_server_starts_while_another_one_drops_a_collection(servers: Servers) -> None:
    async def story() -> None:
        async with servers.opened("one") as one:
            await one.collections.create("pets")
            other = servers.opened("other")
            failing_once(other, lambda: one.collections.drop("default"))
            async with other:
                await other.collections.catch_up()
                assert [info.name for info in await other.collections.list()] == ["default", "pets"]

    asyncio.run(story())


def test_image_that_cannot_be_embedded_keeps_no_server_from_searching(
    run: Run, servers: Servers, postgres_cluster: Cluster
) -> None:
    async def story(one: Opened, other: Opened) -> None:
        for n in range(2):
            await one.add("default", noise(n), f"i{n}")
        file = next(
            file for file in servers.folder.glob("originals/images/*/*") if file.read_bytes() == noise(0)
        )
        file.unlink()
        schema = servers.url.rpartition("%3D")[2]
        number = one.collections["default"].number
        postgres_cluster.execute(f"DELETE FROM {schema}.vectors_{number}_1 WHERE key = 1")
        async with servers.opened("third") as third:
            await until(lambda: third.collections["default"].state == "ready")
            query = np.ones(third.pair().model.embed_dim, np.float32) / np.sqrt(third.pair().model.embed_dim)
            assert await third.ids(query) == ["i1"]

    run(story)


def test_search_between_two_writes_that_meets_a_switch_begins_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vectors that it began with lack what is added after the switch."""
    monkeypatch.setattr(search, "ATTEMPTS", 1)

    async def story(one: Opened, other: Opened) -> None:
        await one.add("default", noise(0), "a")
        may_switch, switch = asyncio.Event(), one.collections.moves.switch

        async def switching(*work: Any) -> None:
            await may_switch.wait()
            await switch(*work)

        one.collections.moves.switch = switching  # type: ignore[method-assign]
        rollout = await one.rollouts.activate(TINY, 2)
        what = of_rollout(rollout.id)
        while not await is_announced(other, what):  # noqa: ASYNC110 - has no event
            await asyncio.sleep(0.01)
        keys, n_reads = other.records.rows.keys, 0

        async def reading(c: int, ids: Sequence[str] | None = None) -> list[int]:
            nonlocal n_reads
            n_reads += 1
            if n_reads == 1:  # the first attempt is incomplete
                await one.add("default", noise(1), "a", replace=True)
            elif n_reads == 2:
                may_switch.set()
                await one.end_of(rollout)
                await one.add("default", noise(2), "late")
            return await keys(c, ids)

        other.records.rows.keys = reading  # type: ignore[method-assign]
        found = await search_by(other.serving, other.collections, "default", StoredImage("a"), 10)
        assert ([hit.id for hit in found.hits], found.model.ref.version) == (["late"], 2)
        assert n_reads > 2

    run(story)


async def is_announced(server: Opened, what: str) -> bool:
    """Whether a server has announced something."""
    return what in await server.records.peers.announced(what)
