"""Snapshots: what a request holds stays open, and what nobody holds is closed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from diptych.core.concurrency.shared import Shared
from diptych.core.serving.live_index import LiveIndex
from diptych.core.serving.ports import VectorIndex
from diptych.core.serving.snapshot import Pair, Serving
from diptych.core.serving.version import Version
from diptych.core.serving.versions import Versions
from diptych.core.types import Target
from unit.core.core_fakes import until
from unit.core.version_fakes import ONE, TWO, Loads

PETS, CARS = 1, 2  # numbers of collections


class Parts:
    """A server of version ONE; remembers which indexes and versions were closed."""

    def __init__(self) -> None:
        self.loads = Loads()
        self.versions = Versions(self.loads)
        self.served: list[Target] = []
        first = self.versions.adopt(self.loads(ONE))
        self.serving = Serving(first, on_switch=lambda model: self.served.append(model.target))
        self.closed: list[str] = []

    @property
    def first(self) -> Shared[Version]:
        return self.serving.current.shared_version

    def put(
        self, slot: Callable[[int, Pair], None], number: int, version: Shared[Version], name: str
    ) -> LiveIndex:
        """Give a snapshot a new index, which only it owns then."""
        index = Shared(LiveIndex(name, cast(VectorIndex, None)), lambda index: self.closed.append(name))
        slot(number, Pair(version, index))
        index.release()
        return index.value


@asynccontextmanager
async def opened() -> AsyncIterator[Parts]:
    parts = Parts()
    yield parts
    await parts.versions.close()


async def begun(parts: Parts) -> Shared[Version]:
    """Begin a snapshot of version TWO; return the version, which only the snapshot owns then."""
    second = await parts.versions.acquire(TWO)
    parts.serving.begin(second)
    second.release()
    return second


async def test_request_keeps_its_snapshot_open_whatever_is_switched() -> None:
    async with opened() as parts:
        serving = parts.serving
        old = parts.put(serving.set_current, PETS, parts.first, "old")
        with serving.use() as snapshot:
            second = await begun(parts)
            new = parts.put(serving.set_next, PETS, second, "new")
            serving.switch()
            serving.drop_previous()
            assert serving.current.pairs[PETS].index is new
            assert snapshot.pairs[PETS].index is old
            assert parts.closed == [] == parts.loads.closed
            assert snapshot.version.classifier.prompts == parts.first.value.model.prompts
        assert parts.closed == ["old"]
        await until(lambda: parts.loads.closed == [ONE])
        assert parts.served == [ONE, TWO]


async def test_former_snapshot_is_kept_for_a_rollback_and_generations_grow() -> None:
    async with opened() as parts:
        serving = parts.serving
        old = parts.put(serving.set_current, PETS, parts.first, "old")
        parts.put(serving.set_next, PETS, await begun(parts), "new")
        serving.switch()
        assert serving.previous is not None
        assert serving.previous.pairs[PETS].index is old
        assert [one.identity for one in serving.indexes(PETS)] == ["new", "old"]
        serving.begin(serving.previous.shared_version)
        serving.set_next(PETS, serving.previous.pairs[PETS])
        assert [one.identity for one in serving.indexes(PETS)] == ["new", "old"]
        serving.switch()
        assert serving.current.pairs[PETS].index is old
        assert [one.identity for one in serving.indexes(PETS)] == ["old", "new"]
        assert serving.current.generation == 2
        assert parts.closed == []


async def test_collection_that_cannot_follow_keeps_its_pair_and_is_not_kept_for_the_rollback() -> None:
    async with opened() as parts:
        serving = parts.serving
        parts.put(serving.set_current, PETS, parts.first, "old")
        stays = parts.put(serving.set_current, CARS, parts.first, "stays")
        second = await begun(parts)
        parts.put(serving.set_next, PETS, second, "new")
        serving.switch()
        assert serving.current.pairs[CARS].index is stays
        assert serving.current.version.target == TWO
        third = await parts.versions.acquire(ONE)
        serving.begin(second)  # CARS follows later
        parts.put(serving.set_next, CARS, second, "follows")
        serving.switch()
        third.release()
        assert {number: one.index.identity for number, one in serving.current.pairs.items()} == {
            PETS: "new",
            CARS: "follows",
        }
        assert serving.previous is not None
        assert serving.previous.version.target == ONE


async def test_abandoned_snapshot_closes_what_it_alone_has() -> None:
    async with opened() as parts:
        serving = parts.serving
        shared = parts.put(serving.set_current, PETS, parts.first, "shared")
        second = await begun(parts)
        serving.set_next(PETS, Pair(second, serving.current.pairs[PETS].shared_index))
        parts.put(serving.set_next, CARS, second, "new")
        assert serving.next_pair(PETS) is None
        assert serving.next_pair(CARS) is not None
        assert serving.indexes(PETS) == [shared]
        serving.abandon()
        assert parts.closed == ["new"]
        await until(lambda: parts.loads.closed == [TWO])
        assert serving.next is None


async def test_removed_collection_leaves_all_snapshots() -> None:
    async with opened() as parts:
        serving = parts.serving
        parts.put(serving.set_current, PETS, parts.first, "old")
        parts.put(serving.set_next, PETS, await begun(parts), "new")
        with serving.use() as snapshot:
            serving.remove(PETS)
            assert serving.pairs(PETS) == []
            assert parts.closed == ["new"]
            assert snapshot.pairs[PETS].index.identity == "old"
        assert parts.closed == ["new", "old"]
