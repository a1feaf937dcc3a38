"""Collections of two servers over one PostgreSQL database: what one does while the other one writes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from diptych.adapters.postgres.store import PostgresStore
from diptych.core.collections.metadata.filters import Eq
from integration.store_parts import Opened
from support.fixtures import model_repo_fixture
from support.pictures import noise
from support.postgres import Cluster

model_repo = model_repo_fixture({})

IS_TRASH = Eq(("state",), "trash")

Story = Callable[[Opened, Opened], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture
def run(model_repo: Path, postgres_cluster: Cluster, tmp_path: Path) -> Run:
    url, originals = postgres_cluster.url(), tmp_path / "originals"
    originals.mkdir()

    def opened(name: str) -> Opened:
        records = PostgresStore(url, tmp_path / name, originals=originals)
        return Opened(model_repo, originals, 1, records=records)

    def run_story(story: Story) -> None:
        async def whole() -> None:
            async with opened("one") as one, opened("other") as other:
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
