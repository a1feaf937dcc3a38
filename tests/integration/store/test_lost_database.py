"""A data folder without its database or its originals is not served as an empty one."""

import asyncio
import logging
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from types import FrameType
from typing import Any

import pytest

import diptych
from diptych.adapters.backup.data_folder import refuse_lost_database
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite import threads
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.errors import CorruptStore
from diptych.settings import Settings
from diptych.wiring.services import build
from integration.data_folders import COLLECTION, IDENTITY, REF, add, change, row
from support.app import FIXED_PLAN
from support.tiny_bundle import TINY, write_tiny_bundle

PACKAGE = Path(diptych.__file__).parent
PETS = {"cat": b"cat", "dog": b"dog", "two": b"dog"}  # two files


@pytest.fixture(scope="module")
def damaged_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No model of it can be loaded."""
    folder = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(folder)
    with (folder / TINY / "1" / "text_encoder.onnx").open("ab") as file:
        file.write(b"x")
    return folder


class FolderAtEachMoment:
    """Copies of a data folder, each as a kill at that moment would leave it: one after every change."""

    def __init__(self, data_dir: Path, copies: Path) -> None:
        self._data_dir, self._copies = data_dir, copies
        self._seen: object = None
        self.kept: list[Path] = []

    def look(self, frame: FrameType | None = None, event: str = "", argument: object = None) -> None:
        """As a profiler of Python: before and after every call that opening the folder makes."""
        if frame is not None and not frame.f_code.co_filename.startswith(str(PACKAGE / "adapters")):
            return
        if not self._data_dir.exists():
            return
        paths = sorted(self._data_dir.rglob("*"))
        found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        if found != self._seen:
            self._seen = found
            self.kept.append(self._copies / str(len(self.kept)))
            copytree(self._data_dir, self.kept[-1])

    def traced(self, connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        """Looks before every statement, too."""

        def connected(*args: Any, **options: Any) -> sqlite3.Connection:
            db = connect(*args, **options)
            db.set_trace_callback(lambda statement: self.look())
            return db

        return connected


def lose(data_dir: Path) -> None:
    for path in data_dir.glob(f"{DATABASE}*"):
        path.unlink()


def empty(data_dir: Path) -> None:
    lose(data_dir)
    (data_dir / DATABASE).write_bytes(b"")


def cut_before_its_first_table(data_dir: Path) -> None:
    lose(data_dir)
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert (data_dir / DATABASE).stat().st_size > 0


def files_of(data_dir: Path) -> dict[str, bytes]:
    """All but the lock and what SQLite makes anew, by path."""
    paths = [path for path in data_dir.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path): path.read_bytes() for path in paths if not path.name.endswith(("-wal", "-shm"))}


@pytest.mark.parametrize("damage", [lose, empty, cut_before_its_first_table])
def test_start_names_the_files_and_what_to_do_and_changes_nothing(
    damaged_repo: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    add(tmp_path / "data", PETS)
    damage(tmp_path / "data")
    before = files_of(tmp_path / "data")
    settings = Settings(model_repo=damaged_repo, model=TINY, data_dir=tmp_path / "data")
    with pytest.raises(
        CorruptStore,
        match=rf"data was in use and has lost its .*\(images: 2\): restore .*{tmp_path}.*or move",
    ):
        build(settings)  # before it comes to the model
    assert files_of(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (f"{DATABASE}-wal", r"else \(diptych.sqlite3-wal\)"),
        (f"thumbnails/ab/{'ab' * 32}-256", r"else \(thumbnails: 1\)"),
        (f"jobs/{'a' * 32}", r"else \(inputs of jobs: 1\)"),
    ],
)
def test_whatever_else_shows_that_a_folder_was_in_use_is_not_served_as_an_empty_one(
    tmp_path: Path, path: str, named: str
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(b"of a collection that keeps no images")
    with pytest.raises(CorruptStore, match=named):
        refuse_lost_database(tmp_path)


def test_first_start_that_is_killed_at_any_moment_can_be_repeated(
    model_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "data"
    kills = FolderAtEachMoment(data_dir, tmp_path / "kills")
    monkeypatch.setattr(threads, "connect", kills.traced(threads.connect))
    sys.setprofile(kills.look)
    try:
        services = build(Settings(model_repo=model_repo, model=TINY, data_dir=data_dir, **FIXED_PLAN))
    finally:
        sys.setprofile(None)
    asyncio.run(services.close())
    left = [{path.name for path in folder.iterdir()} for folder in kills.kept]
    assert {"lock"} in left
    assert any(DATABASE in names and f"{DATABASE}-wal" not in names for names in left)
    assert {"images", "thumbnails", "jobs"} <= left[-1]
    for folder in kills.kept:
        refuse_lost_database(folder)
        asyncio.run(SqliteStore(folder).close())


def test_database_whose_tables_are_all_in_its_log_is_not_lost(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "served")
    copytree(tmp_path / "served", tmp_path / "killed")  # what a kill now would leave
    asyncio.run(store.close())
    assert b"CREATE TABLE" not in (tmp_path / "killed" / DATABASE).read_bytes()
    (tmp_path / "killed" / "images" / "ab").mkdir(parents=True)
    (tmp_path / "killed" / "images" / "ab" / ("ab" + "0" * 62)).write_bytes(b"of an add")
    refuse_lost_database(tmp_path / "killed")


LOGGER = "diptych.adapters.backup.data_folder"


def start(model_repo: Path, data_dir: Path) -> None:
    asyncio.run(build(Settings(model_repo=model_repo, model=TINY, data_dir=data_dir, **FIXED_PLAN)).close())


def nothing(data_dir: Path) -> None: ...


def unkept(data_dir: Path) -> None:
    """A collection that keeps no originals."""

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        c = (await store.catalogue.create(COLLECTION, "none", IDENTITY, REF)).number
        await store.writer.put(c, [replace(row("cat", b"cat"), kept=False)], identity=IDENTITY, replace=False)

    change(data_dir, work)
    shutil.rmtree(data_dir / "images")


def test_start_says_how_many_originals_are_gone_and_makes_no_folder(model_repo: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    add(data_dir, PETS)
    shutil.rmtree(data_dir / "images")
    with pytest.raises(
        CorruptStore, match=r"images is not there.*\(files: 2\): mount.*restore.*make an empty"
    ):
        start(model_repo, data_dir)
    assert not (data_dir / "images").exists()
    (data_dir / "images").mkdir()
    start(model_repo, data_dir)


def test_start_on_an_empty_folder_warns_of_the_originals(
    model_repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir = tmp_path / "data"
    add(data_dir, PETS)
    for folder in (data_dir / "images").iterdir():
        shutil.rmtree(folder)
    start(model_repo, data_dir)
    (said,) = (one for one in caplog.records if one.name == LOGGER)
    assert said.levelno == logging.WARNING
    assert "is empty, and the database knows of originals in it (files: 2)" in said.getMessage()


@pytest.mark.parametrize("make", [nothing, unkept])
def test_folder_without_originals_is_begun_as_ever(
    model_repo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    data_dir = tmp_path / "data"
    make(data_dir)
    assert not (data_dir / "images").exists()
    start(model_repo, data_dir)
    assert (data_dir / "images").is_dir()
    assert [one for one in caplog.records if one.name == LOGGER] == []
