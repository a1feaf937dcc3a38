"""The quota of a data folder includes the database's log, which makes room once nobody reads it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.quota import Quota
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import StoreFull
from integration.data_folders import COLLECTION, IDENTITY, REF, number_of, row

LIMIT = 600_000
N_MOST = 300  # rows of 4 kB; far more than there is room for


def open_store(data_dir: Path, work: Callable[[SqliteStore, ImageFiles], Awaitable[None]]) -> None:
    async def opened() -> None:
        quota = Quota(LIMIT)
        store = SqliteStore(data_dir, quota)
        try:
            await store.catalogue.create(COLLECTION, "original", IDENTITY, REF)
            await work(store, ImageFiles(data_dir, quota))
        finally:
            await store.close()

    asyncio.run(opened())


async def add_row(store: SqliteStore, n: int) -> None:
    long = replace(row(f"i{n}", b"%d" % n), metadata={"long": "x" * 4_000})
    await store.writer.put(await number_of(store, COLLECTION), [long], identity=IDENTITY, replace=False)


async def delete_first(store: SqliteStore) -> None:
    c = await number_of(store, COLLECTION)
    await store.writer.delete(c, await store.rows.keys(c, ["i0"]))


async def fill(store: SqliteStore, after_each: Callable[[], None] = lambda: None) -> StoreFull:
    """Add rows until one is refused."""
    for n in range(N_MOST):
        try:
            await add_row(store, n)
        except StoreFull as error:
            return error
        after_each()
    raise AssertionError("there is room for all of them")


def sizes(data_dir: Path) -> tuple[int, int]:
    """Of the database and of its log, on the disk."""
    return (data_dir / DATABASE).stat().st_size, (data_dir / f"{DATABASE}-wal").stat().st_size


@contextmanager
def somebody_reads(data_dir: Path) -> Iterator[None]:
    """As a backup does, for longer than any search."""
    with DataFolder(data_dir).snapshot():
        yield


def test_database_and_log_together_stay_within_the_quota(tmp_path: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        largest = 0

        def measure() -> None:
            nonlocal largest
            largest = max(largest, sum(sizes(tmp_path)))

        await fill(store, measure)
        assert LIMIT * 0.9 < largest <= LIMIT

    open_store(tmp_path, work)


def test_log_that_a_reader_keeps_counts_and_is_said_and_makes_room_when_the_reader_is_gone(
    tmp_path: Path,
) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        with somebody_reads(tmp_path):
            refused = await fill(store)
            _, log_bytes = sizes(tmp_path)
            assert log_bytes > LIMIT / 3
            assert f"{log_bytes} of them in the log of the database, the limit is {LIMIT} " in str(refused)
            with pytest.raises(StoreFull):
                await files.put({sha256_of(b"x" * 500_000): b"x" * 500_000})
            await delete_first(store)  # is always within it
        await files.put({sha256_of(b"x" * 100_000): b"x" * 100_000})
        for n in range(N_MOST, N_MOST + 5):
            await add_row(store, n)
        assert sizes(tmp_path)[1] < LIMIT / 6

    open_store(tmp_path, work)


def test_deleting_makes_room_although_the_log_of_it_is_long(tmp_path: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await fill(store)
        number = await number_of(store, COLLECTION)
        await store.catalogue.drop(number)
        await store.catalogue.clear(number, 1_000)
        await store.catalogue.create(COLLECTION, "original", IDENTITY, REF)
        await fill(store)
        assert (await store.catalogue.list())[0].n_images > 50

    open_store(tmp_path, work)


def test_log_holds_room_from_the_start_and_takes_the_place_of_the_reserve_of_earlier_versions(
    tmp_path: Path,
) -> None:
    (tmp_path / "reserve").write_bytes(bytes(4096))

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        log_bytes = sizes(tmp_path)[1]
        assert log_bytes > LIMIT / 32
        await add_row(store, 0)
        await delete_first(store)
        assert sizes(tmp_path)[1] >= log_bytes

    open_store(tmp_path, work)
    assert not (tmp_path / "reserve").exists()
