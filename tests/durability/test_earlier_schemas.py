"""A data folder of any earlier schema is brought up to date with everything in it.

`schemas/N.sql` is the database as the release with schema N wrote it. It is added with the migration from N.
"""

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from diptych.adapters.sqlite import threads
from diptych.adapters.sqlite.schema import MIGRATIONS, connect, schema_version
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.metadata.filters import Compare
from diptych.core.types import SERVER, NewRow
from diptych.errors import StoreFull
from diptych.failpoints import VARIABLE
from support.tiny_bundle import TINY
from support.warm_server import WarmServers

SCHEMAS = Path(__file__).parent / "schemas"
KEPT = sorted(int(file.stem) for file in SCHEMAS.glob("*.sql"))
KILLS = 5


def as_left_by(version: int, data_dir: Path) -> None:
    """Create the database of that release and an empty folder of images."""
    (data_dir / "images").mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        db.executescript((SCHEMAS / f"{version}.sql").read_text(encoding="utf-8"))


def spelled(db: sqlite3.Connection) -> dict[str, str]:
    """Return the definitions of tables and indexes by name, with white space normalised."""
    rows = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'"
    )
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows}


def test_every_earlier_schema_is_kept() -> None:
    assert set(KEPT) >= set(range(1, len(MIGRATIONS)))
    assert max(KEPT) <= len(MIGRATIONS)


def test_steps_that_met_a_full_disk_are_taken_by_the_next_start_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_left_by(5, tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        (n_pages,) = db.execute("PRAGMA page_count").fetchone()
    with monkeypatch.context() as patched:
        patched.setattr(threads, "connect", lambda file, writes: bounded(file, n_pages))
        with pytest.raises(StoreFull, match="no space is left on the disk of the data folder"):
            SqliteStore(tmp_path)
    asyncio.run(check_rows(tmp_path))


def bounded(file: Path, max_pages: int) -> sqlite3.Connection:
    """Limit a database to its present size, so that SQLite reports it as full."""
    db = connect(file, writes=True)
    db.execute(f"PRAGMA max_page_count = {max_pages}")
    return db


@pytest.mark.parametrize("version", KEPT)
def test_steps_that_were_released_were_not_edited(tmp_path: Path, version: int) -> None:
    as_left_by(version, tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as kept, closing(sqlite3.connect(":memory:")) as made:
        for statement in (statement for step in MIGRATIONS[:version] for statement in step):
            made.execute(statement)
        expected = spelled(made)
        found = spelled(kept)
        assert schema_version(kept) == version
    assert {name: found[name] for name in expected} == expected
    assert found.keys() - expected.keys() == {"schema_version"}


@pytest.mark.parametrize("version", KEPT)
def test_everything_is_there_after_the_steps_that_were_missing(tmp_path: Path, version: int) -> None:
    as_left_by(version, tmp_path)
    for _ in range(2):  # and after opening it again
        asyncio.run(check_rows(tmp_path))
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        assert schema_version(db) == len(MIGRATIONS)
        applied = [number for (number,) in db.execute("SELECT version FROM schema_version ORDER BY version")]
        assert applied == list(range(1, len(MIGRATIONS) + 1))


async def check_rows(data_dir: Path) -> None:
    store = SqliteStore(data_dir)
    try:
        infos = {info.name: (info.model, info.n_images) for info in await store.collections()}
        assert infos == {"mine": (TINY, 2), "theirs": (TINY, 1)}
        assert {info.precision for info in await store.collections()} == {SERVER}
        a, b = await store.page("mine", None, 10)
        assert (a.id, a.sha256, a.n_bytes, a.media_type, a.width, a.height) == (
            "a",
            "1" * 64,
            70,
            "image/png",
            4,
            5,
        )
        assert a.metadata == {"year": 2001, "tags": ["x", "é"]}
        assert (b.id, b.metadata, b.created_at) == ("b", {}, "2026-11-20T08:00:04.000+00:00")
        assert (await store.embedding("mine", "a", "second")).tolist() == [0, 1]  # type: ignore[union-attr]
        assert (await store.embedding("mine", "b", "first")).tolist() == [-0.5, 0.5]  # type: ignore[union-attr]
        assert list(await store.missing("mine", "second")) == [3]
        assert (await store.matching_keys("mine", Compare(("year",), "gte", 2001))).tolist() == [1]
        row = NewRow("new", "3" * 64, 1, "image/png", 1, 1, None, np.ones(2, np.float32))
        (added,) = await store.put("theirs", [row], identity="first", replace=False)
        assert added.key > 9  # keys that were used once are not used again
        assert (await store.delete("theirs", "new")).released == ("3" * 64,)
    finally:
        await store.close()


@pytest.mark.long
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("version", [version for version in KEPT if version < len(MIGRATIONS)])
def test_steps_that_were_cut_short_are_taken_again(
    warm: WarmServers, tmp_path: Path, version: int, side: str
) -> None:
    for n in range(KILLS):
        step = 1 + n % (len(MIGRATIONS) - version)
        data_dir = tmp_path / str(n)
        as_left_by(version, data_dir)
        server = warm.start(data_dir, environment={VARIABLE: f"migration_commit.{side}:{step}"})
        assert server.url_when_ready() is None
        assert server.wait() < 0
        asyncio.run(check_rows(data_dir))
        shutil.rmtree(data_dir)
