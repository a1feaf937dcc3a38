"""Files of images: written whole, healed, and for the user of the server alone, whatever the umask."""

import asyncio
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.job_files import JobFiles
from diptych.adapters.files.plan_file import PlanFile
from diptych.adapters.files.quota import Quota
from diptych.adapters.files.unused_files import SWEPT_PREFIX
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.stored.ids import sha256_of
from diptych.core.tuning.execution_layout import Plan
from diptych.errors import StoreError, StoreUnavailable
from integration.backup_parts import back_up
from integration.backup_parts import restored as restore
from integration.data_folders import add, put


def names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.glob("*/*/*"))


def test_refusing_disk_is_a_store_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    files, one = ImageFiles(tmp_path), sha256_of(b"one")
    (tmp_path / "images" / one[:2]).write_bytes(b"a file where the folder should be")

    async def run() -> None:
        with pytest.raises(StoreError, match="image files failed"):
            await files.put({one: b"one"})
        assert names(tmp_path) == []

    asyncio.run(run())


PETS = {"cat": b"cat", "dog": b"a dog"}


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    umask = os.umask(0)
    yield
    os.umask(umask)


def modes(folder: Path) -> dict[str, int]:
    """Of all files and folders in it, by their names from there."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def readable_by_others(folder: Path) -> dict[str, str]:
    return {name: oct(mode) for name, mode in modes(folder).items() if mode & 0o077}


async def serve(data_dir: Path) -> dict[str, int]:
    """Keep one of everything; the modes while the folder is served."""
    lock = DataLock(data_dir)
    store = SqliteStore(data_dir, Quota(), lock)
    try:
        files, jobs = ImageFiles(data_dir), JobFiles(data_dir)
        await put(store, files, PETS)
        await files.put_thumbnail(sha256_of(b"cat"), 64, b"a small cat")
        job = await jobs.create(uuid.uuid4().hex)
        await job.write(b"a body")
        await job.finish()
        PlanFile(data_dir / "plans.json").put("a machine", Plan(1, 8, 8, 1))
        return modes(data_dir)
    finally:
        await store.close()


def test_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"
    found = asyncio.run(serve(data_dir))
    assert {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "plans.json", "lock"} <= found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_what_an_earlier_version_left_open_is_narrowed_at_the_start(tmp_path: Path) -> None:
    asyncio.run(serve(tmp_path))
    for name in (DATABASE, "plans.json"):
        (tmp_path / name).chmod(0o644)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"{DATABASE}{suffix}").touch(0o644)
    for name in ("images", "thumbnails", "jobs"):
        (tmp_path / name).chmod(0o755)
    found = asyncio.run(serve(tmp_path))
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


def test_backup_and_what_is_restored_of_it_are_for_their_user_alone(tmp_path: Path) -> None:
    data_dir, backup, restored = tmp_path / "data", tmp_path / "backup", tmp_path / "restored"
    add(data_dir, PETS)
    back_up(data_dir, backup)
    assert readable_by_others(backup) == {}
    restore(backup, restored)
    assert readable_by_others(restored) == {}


def path_of(data_dir: Path, sha256: str) -> Path:
    return data_dir / "images" / sha256[:2] / sha256


async def stored(files: ImageFiles) -> list[str]:
    return [sha256 for page in [page async for page in files.stored()] for sha256 in page]


def test_sweep_of_shared_files_that_was_killed_is_undone(tmp_path: Path) -> None:
    async def story() -> None:
        files = ImageFiles(tmp_path, shared=True)
        sha256 = sha256_of(b"one")
        await files.put({sha256: b"one"})
        path = path_of(tmp_path, sha256)
        leftover = path.with_name(".tmp-1")
        leftover.touch()
        path.rename(path.with_name(f"{SWEPT_PREFIX}{sha256}"))
        assert await stored(files) == [sha256]
        assert await files.get(sha256) == b"one"
        assert leftover.exists()  # another server may be writing it
        os.utime(leftover, (1, 1))
        await stored(files)
        assert not leftover.exists()

    asyncio.run(story())


def test_missing_folder_of_common_originals_is_named_by_its_setting(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, shared=True)
    (tmp_path / "images").rename(tmp_path / "away")
    with pytest.raises(
        StoreUnavailable, match="the folder images of the folder that DIPTYCH_ORIGINALS names is not there"
    ):
        asyncio.run(files.require_available())
