"""A start without the folder of the originals, as of a disk that is not mounted, does not make a new one."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.errors import CorruptStore
from diptych.settings import Settings
from diptych.wiring.services import build
from integration.data_folders import COLLECTION, IDENTITY, REF, add, change, row
from support.app import FIXED_PLAN
from support.tiny_bundle import TINY

PETS = {"cat": b"cat", "dog": b"dog", "two": b"dog"}  # two files
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


def test_damaged_database_is_left_to_those_who_say_what_is_damaged(model_repo: Path, tmp_path: Path) -> None:
    add(tmp_path / "data", PETS)
    shutil.rmtree(tmp_path / "data" / "images")
    (tmp_path / "data" / DATABASE).write_bytes(b"no database" * 1_000)
    with pytest.raises(CorruptStore, match="the database is damaged"):
        start(model_repo, tmp_path / "data")
