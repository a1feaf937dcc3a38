"""The database is checked while the server loads, and what the check finds stops the start."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.sqlite import threads
from diptych.adapters.sqlite.catalogue import SqlCatalogue
from diptych.adapters.sqlite.schema import OLDEST, require_sound
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.adapters.sqlite.threads import SqliteThreads
from diptych.errors import BundleError, CorruptStore
from diptych.settings import Settings
from diptych.wiring import services
from integration.data_folders import COLLECTION, IDENTITY, REF, add, contents, number_of
from support.app import FIXED_PLAN
from support.tiny_bundle import TINY

PETS = {f"pet{n}": b"x" * (n + 1) for n in range(30)}
INDEX = "images_by_sha256"
SCHEMAS = Path(__file__).parents[2] / "durability" / "schemas"  # as earlier releases wrote them
DAMAGED = f"the database is damaged: .* index {INDEX}; a backup can be restored"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    add(tmp_path / "data", PETS)
    return tmp_path / "data"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return what has to be set before a check of a database ends."""
    ends = threading.Event()

    def held_up(db: sqlite3.Connection) -> list[str]:
        assert ends.wait(60)
        return require_sound(db)

    monkeypatch.setattr(threads, "require_sound", held_up)
    yield ends
    ends.set()


@pytest.fixture
def late_check(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each check of a database last until something waits for it, so that all else happens before."""
    is_awaited = threading.Event()

    def noted(wait: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            is_awaited.set()
            return wait(*args, **options)

        return call

    def late(db: sqlite3.Connection) -> list[str]:
        assert is_awaited.wait(60)
        return require_sound(db)

    for name in ("require_sound", "write", "close"):
        monkeypatch.setattr(SqliteThreads, name, noted(getattr(SqliteThreads, name)))
    monkeypatch.setattr(threads, "require_sound", late)


def damage(data_dir: Path) -> None:
    """Make the index lack all rows, so that every image file seems to be unused."""
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as db:
        db.execute(f"DROP INDEX {INDEX}")
        db.execute(f"CREATE INDEX {INDEX} ON images (sha256) WHERE key > 100")
        db.execute("PRAGMA writable_schema = ON")
        whole = f"CREATE INDEX {INDEX} ON images (sha256)"
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (whole, INDEX))


def mend(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        db.execute(f"REINDEX {INDEX}")


def start(model_repo: Path, data_dir: Path) -> None:
    settings = Settings(model_repo=model_repo, model=TINY, data_dir=data_dir, **FIXED_PLAN)

    async def started() -> None:
        await (await services.load(settings)).close()

    asyncio.run(started())


@pytest.mark.usefixtures("late_check")
def test_start_on_a_damaged_database_removes_no_file_and_writes_no_row(
    model_repo: Path, data_dir: Path
) -> None:
    damage(data_dir)
    before = (data_dir / DATABASE).read_bytes()
    with pytest.raises(CorruptStore, match=DAMAGED):
        start(model_repo, data_dir)
    assert (data_dir / DATABASE).read_bytes() == before
    mend(data_dir)
    assert contents(data_dir) == PETS


@pytest.mark.usefixtures("late_check")
@pytest.mark.parametrize("failing", [(services, "assemble"), (SqlCatalogue, "sources")])
def test_damage_is_named_where_it_may_have_caused_another_error(
    model_repo: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, failing: tuple[object, str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise BundleError("no model has the name that was read")

    monkeypatch.setattr(*failing, fail)
    with pytest.raises(BundleError):
        start(model_repo, data_dir)
    damage(data_dir)
    with pytest.raises(CorruptStore, match=DAMAGED):
        start(model_repo, data_dir)


def test_sound_store_is_read_while_it_is_checked_and_written_afterwards(
    data_dir: Path, check: threading.Event
) -> None:
    async def story() -> None:
        store = SqliteStore(data_dir, checks_in_background=True)
        try:
            (found,) = await store.catalogue.list()
            assert (found.name, found.n_images) == (COLLECTION, len(PETS))
            writing = asyncio.create_task(store.catalogue.create("other", "original", IDENTITY, REF))
            checking = asyncio.create_task(store.require_sound())
            await asyncio.sleep(0.05)
            assert not writing.done()
            assert not checking.done()
            check.set()
            await asyncio.gather(writing, checking)
        finally:
            check.set()
            await store.close()

    asyncio.run(story())


def test_damaged_store_is_neither_written_nor_read_once_it_was_checked(
    data_dir: Path, check: threading.Event
) -> None:
    damage(data_dir)

    async def story() -> None:
        store = SqliteStore(data_dir, checks_in_background=True)
        try:
            chunks = [
                page.keys async for page in store.vectors.since(await number_of(store, COLLECTION), IDENTITY)
            ]
            assert len(chunks) == 1
            check.set()
            for call in (
                store.require_sound(),
                store.catalogue.create("other", "original", IDENTITY, REF),
                store.catalogue.list(),
            ):
                with pytest.raises(CorruptStore, match=DAMAGED):
                    await call
        finally:
            check.set()
            await store.close()

    asyncio.run(story())


def test_database_that_is_to_be_migrated_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        db.executescript((SCHEMAS / f"{OLDEST}.sql").read_text(encoding="utf-8"))
    damage(tmp_path)
    with pytest.raises(CorruptStore, match=DAMAGED):
        SqliteStore(tmp_path, checks_in_background=True)
    mend(tmp_path)
    asyncio.run(SqliteStore(tmp_path, checks_in_background=True).close())
