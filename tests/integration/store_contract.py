"""Opens each implementation of the ports of the store, for tests of what any of them must do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.postgres.store import PostgresStore
from diptych.adapters.sqlite.jobs import SqlJobs
from diptych.adapters.sqlite.labels import SqlLabels
from diptych.adapters.sqlite.rollouts import SqlRollouts
from diptych.adapters.sqlite.store import SqliteStore
from diptych.core.collections.stored.ports import Records
from diptych.core.jobs.ports import JobStore
from diptych.core.labels.ports import LabelRows
from diptych.core.libraries.ports import LibraryRows
from diptych.core.rollout.ports import RolloutStore
from diptych.core.types import Keep, NewRow, PutResult, VersionRef

REF = VersionRef("tiny", 1, "0" * 64)
DIM = 4


@dataclass(frozen=True)
class Ports:
    """The ports over one data folder."""

    records: Records
    labels: LabelRows
    jobs: JobStore
    rollouts: RolloutStore
    libraries: LibraryRows

    async def created(self, name: str = "c", identity: str = "i", keep: Keep = "original") -> int:
        """Create a collection; return its number."""
        return (await self.records.catalogue.create(name, keep, identity, REF)).number

    async def put(self, c: int, *rows: NewRow, identity: str = "i", replace: bool = False) -> list[PutResult]:
        """Store rows; return their results."""
        return (await self.records.writer.put(c, rows, identity=identity, replace=replace)).results

    async def add(self, c: int, *ids: str, identity: str = "i") -> list[int]:
        """Store one new row for each id; return their keys."""
        return [one.key for one in await self.put(c, *map(row, ids), identity=identity)]

    async def change(self, c: int) -> int:
        """The change number of a collection, as a read of its vectors says it."""
        pages = [page async for page in self.records.vectors.since(c, "none")]
        return pages[0].change


Story = Callable[[Ports], Awaitable[None]]
Run = Callable[[Story], None]


def sqlite(data_dir: Path) -> Ports:
    """The implementation in one SQLite file."""
    return _ports(SqliteStore(data_dir))


def postgres(url: str, data_dir: Path) -> Ports:
    """The implementation in a PostgreSQL database."""
    return _ports(PostgresStore(url, data_dir))


def _ports(store: SqliteStore | PostgresStore) -> Ports:
    threads = store.threads
    return Ports(store, SqlLabels(threads), SqlJobs(threads), SqlRollouts(threads), store.libraries)


@pytest.fixture(params=["sqlite", "postgres"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Ports]:
    """Return what opens one store, the same each time."""
    if request.param == "sqlite":
        return partial(sqlite, tmp_path)
    url = request.getfixturevalue("postgres_cluster").url()
    return partial(postgres, url, tmp_path)


@pytest.fixture
def run(opens: Callable[[], Ports]) -> Run:
    """Return what runs a story over one store, which it opens and closes each time."""

    def run_story(story: Story) -> None:
        async def whole() -> None:
            ports = opens()
            try:
                await story(ports)
            finally:
                await ports.records.close()

        asyncio.run(whole())

    return run_story


def row(id: str, content: str = "", metadata: Any = None) -> NewRow:
    """Return a row whose sha256 begins with its content, which is its id by default."""
    embedding = np.random.default_rng(len(id)).standard_normal(DIM).astype(np.float32)
    return NewRow(id, (content or id).ljust(64, "0"), 3, "image/png", 4, 5, metadata, embedding)
