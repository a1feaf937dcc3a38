"""A data folder without its database is not served as an empty one, which would remove all that is left."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import copytree

import pytest

from diptych.adapters.data_folder import refuse_lost_database
from diptych.adapters.sqlite_store import DATABASE, SqliteStore
from diptych.cli.data_folders import back_up_folder, restore_backup
from diptych.errors import CorruptStore
from diptych.settings import Settings
from diptych.wiring import build
from integration.data_folders import add, contents
from support.tiny_bundle import TINY, write_tiny_bundle

PETS = {"cat": b"cat", "dog": b"dog", "two": b"dog"}


class Silent:
    def begin(self, work: str, n_steps: int) -> None: ...

    def advance(self, n_steps: int = 1) -> None: ...


@pytest.fixture(scope="module")
def damaged_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No model of it can be loaded."""
    folder = tmp_path_factory.mktemp("repo")
    write_tiny_bundle(folder)
    with (folder / TINY / "1" / "text_encoder.onnx").open("ab") as file:
        file.write(b"x")
    return folder


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
        CorruptStore, match=rf"data has lost its database .* jobs, 2 of them: restore .*{tmp_path}.*or move"
    ):
        build(settings)  # before it comes to the model
    assert files_of(tmp_path / "data") == before


def test_input_of_an_accepted_job_is_not_removed_either(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / ("a" * 32)).write_bytes(b"accepted")
    with pytest.raises(CorruptStore, match="jobs, 1 of them"):
        refuse_lost_database(tmp_path)


def test_folder_whose_files_were_moved_away_begins_as_an_empty_one(tmp_path: Path) -> None:
    add(tmp_path / "data", PETS)
    lose(tmp_path / "data")
    (tmp_path / "data" / "images").rename(tmp_path / "away")
    refuse_lost_database(tmp_path / "data")


def test_folder_that_never_held_a_file_needs_no_database(tmp_path: Path) -> None:
    refuse_lost_database(tmp_path / "new")
    (tmp_path / "images" / "ab").mkdir(parents=True)
    (tmp_path / "images" / "ab" / f".tmp-{'0' * 32}").write_bytes(b"half")
    refuse_lost_database(tmp_path)


def test_database_whose_tables_are_all_in_its_log_is_not_lost(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "served")
    copytree(tmp_path / "served", tmp_path / "killed")  # what a kill now would leave
    asyncio.run(store.close())
    assert b"CREATE TABLE" not in (tmp_path / "killed" / DATABASE).read_bytes()
    (tmp_path / "killed" / "images" / "ab").mkdir(parents=True)
    (tmp_path / "killed" / "images" / "ab" / ("ab" + "0" * 62)).write_bytes(b"of an add")
    refuse_lost_database(tmp_path / "killed")


def test_damaged_database_is_left_to_those_who_say_what_is_damaged(tmp_path: Path) -> None:
    add(tmp_path, PETS)
    (tmp_path / DATABASE).write_bytes(b"no database" * 1_000)
    refuse_lost_database(tmp_path)
    with pytest.raises(CorruptStore, match="the database is damaged"):
        SqliteStore(tmp_path)


def test_restore_mends_it(tmp_path: Path) -> None:
    add(tmp_path / "data", PETS)
    back_up_folder(tmp_path / "data", tmp_path / "backup", Silent())
    add(tmp_path / "data", {"cow": b"cow"})
    lose(tmp_path / "data")
    restore_backup(tmp_path / "backup", tmp_path / "data", Silent(), replace=True)
    refuse_lost_database(tmp_path / "data")
    assert contents(tmp_path / "data") == PETS
