"""Damage on the disk prevents the start or is reported by `diptych check`."""

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.adapters.backup.data_folder import check
from diptych.adapters.sql import rows as sqlite_rows
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.metadata.filters import Compare
from diptych.core.types import NewRow
from diptych.errors import CorruptStore
from integration.backup_parts import Silent
from integration.data_folders import REF
from integration.store_parts import Opened, tiny_png

N_ROWS = 600
DIM = 64
PAGE = 4096
N_FLIPS = 25
C = 1  # the number of the only collection


async def everything(store: SqliteStore) -> dict[str, Any]:
    """Return everything that can be read from the store, by every method."""
    listed, after = [], None
    while page := await store.rows.page(C, after, 100):
        listed += page
        after = page[-1].id
    embeddings = [
        (key, row.tobytes())
        async for page in store.vectors.since(C, "i")
        for key, row in zip(page.keys, page.rows, strict=True)
    ]
    return {
        "collections": await store.catalogue.list(),
        "listed": listed,
        "found": await store.rows.find(C, [record.id for record in listed]),
        "by_key": await store.rows.by_key([key for key, _ in embeddings]),
        "embeddings": embeddings,
        "filtered": (await store.filtered.passing(C, Compare(("n",), "gte", N_ROWS // 2))).keys.tolist(),
        "missing": await store.vectors.missing(C, "i"),
        "used": sorted(await store.rows.used_files([record.sha256 for record in listed])),
    }


def is_noticed(data_dir: Path, whole: dict[str, Any]) -> bool:
    """Whether `diptych check` or the start notices damage. If neither does, all content reads as written."""
    try:
        if not check(data_dir, Silent()).is_whole:
            return True
        found = asyncio.run(read(data_dir))
    except CorruptStore as error:
        assert "is damaged" in str(error)
        return True
    assert found == whole
    return False


async def read(data_dir: Path) -> dict[str, Any]:
    store = SqliteStore(data_dir)
    try:
        return await everything(store)
    finally:
        await store.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    data_dir = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)

    async def fill() -> dict[str, Any]:
        store = SqliteStore(data_dir)
        await store.catalogue.create("c", "original", "i", REF)
        rows = [
            NewRow(f"i{n:04}", f"{n:064x}", n, "image/png", 1, 1, {"n": n, "words": words(rng, n)},
                   rng.standard_normal(DIM).astype(np.float32), kept=False)
            for n in range(N_ROWS)
        ]  # fmt: skip
        await store.writer.put(C, rows, identity="i", replace=False)
        whole = await everything(store)
        await store.close()  # and with that, everything is in the one file
        return whole

    return data_dir, asyncio.run(fill())


def words(rng: np.random.Generator, n: int) -> str:
    """Return words for metadata; for one row in 20 they fill whole pages."""
    return "x" * (n % 50) if n % 20 else rng.bytes(4_500).hex()


def pages(file: Path) -> int:
    return file.stat().st_size // PAGE


@pytest.mark.parametrize("damage", ["zeros", "noise", "another page"])
def test_damaged_page_is_noticed_or_does_not_matter(
    sound: tuple[Path, dict[str, Any]], tmp_path: Path, damage: str
) -> None:
    data_dir, whole = sound
    content = (data_dir / DATABASE).read_bytes()
    rng = random.Random(damage)
    noticed = 0
    numbers = [0, 1, *rng.sample(range(2, pages(data_dir / DATABASE)), 38)]
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        other = (number + rng.randrange(1, 20)) % pages(data_dir / DATABASE)
        page = {
            "zeros": bytes(PAGE),
            "noise": rng.randbytes(PAGE),
            "another page": content[other * PAGE : (other + 1) * PAGE],
        }[damage]
        (folder / DATABASE).write_bytes(content[: number * PAGE] + page + content[(number + 1) * PAGE :])
        noticed += is_noticed(folder, whole)
        shutil.rmtree(folder)
    assert noticed > len(numbers) // 2


@pytest.mark.parametrize("damage", ["bit", "byte"])
def test_single_flip_is_noticed_or_does_not_matter(
    sound: tuple[Path, dict[str, Any]], tmp_path: Path, damage: str
) -> None:
    data_dir, whole = sound
    content = (data_dir / DATABASE).read_bytes()
    rng = random.Random(damage)
    noticed = 0
    for at in rng.sample(range(2 * PAGE, len(content)), N_FLIPS):
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.randrange(8) if damage == "bit" else rng.randrange(1, 256)
        (tmp_path / DATABASE).write_bytes(flipped)
        noticed += is_noticed(tmp_path, whole)
    assert noticed > N_FLIPS // 4


def test_clock_that_is_set_back_changes_no_order(
    model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(f"{year}-01-01T00:00:00.000+00:00" for year in range(2030, 1900, -1))
    monkeypatch.setattr(sqlite_rows, "now", lambda: next(times))
    ids = ["m", "z", "a", "k"]  # all of one picture, so that only the order of adding tells them apart

    async def story() -> None:
        async with Opened(model_repo, tmp_path, version=1) as opened:
            for id in ids:
                await opened.add("default", tiny_png(1), id)
            query = await opened.collections.images.embedding("default", "m")
        for _ in range(2):
            async with Opened(model_repo, tmp_path, version=1) as opened:
                assert await opened.ids(query) == ids
                first, following = await opened.collections.images.list("default", None, 2)
                second, _ = await opened.collections.images.list("default", following, 3)
                assert [record.id for record in first + second] == sorted(ids)
                assert (
                    await opened.records.vectors.missing(opened.collections["default"].number, "tiny/1") == {}
                )
                ids.append(f"{len(ids)}")
                await opened.add("default", tiny_png(1), ids[-1])

    asyncio.run(story())


def test_what_was_deleted_is_not_left_in_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path)
        await store.catalogue.create("c", "original", "i", REF)
        row = NewRow("a", "0" * 64, 1, "image/png", 1, 1, {"name": "unforgotten"}, np.ones(4, np.float32))
        written = await store.writer.put(C, [row], identity="i", replace=False)
        await store.writer.delete(C, [written.results[0].key])
        await store.close()

    asyncio.run(story())
    assert b"unforgotten" not in (tmp_path / DATABASE).read_bytes()
    with sqlite3.connect(tmp_path / DATABASE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
