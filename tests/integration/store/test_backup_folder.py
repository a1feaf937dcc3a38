"""Backups of real data folders: complete or not there, resumed, and never into the wrong place."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.adapters.backup.folder import RECORD_FILE
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.bundle.calibration import SUFFIX, calibration_file
from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import CorruptStore, DataDirLocked, StoreError, StoreFull
from durability.small_disk import NEEDS_ROOT, small_disk
from integration.backup_parts import PETS, back_up, flip, ids, image, images, restored, truncate, verify
from integration.data_folders import (
    add,
    change,
    contents,
    delete,
    in_a_process_that_is_killed,
    put,
)
from support.calibrations import write_tiny_calibration
from support.fixtures import model_repo_fixture
from support.tiny_bundle import TINY

model_repo = model_repo_fixture({}, {"seed": 1})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_backup_has_every_row_and_every_file_once_and_nothing_else(data_dir: Path, target: Path) -> None:
    done = back_up(data_dir, target)
    assert (done.counts.n_collections, done.counts.n_images, done.counts.n_files) == (1, 3, 2)
    assert done.counts.file_bytes == 8
    assert ids(target) == ["again", "cat", "dog"]
    assert image(target, b"cat").read_bytes() == b"cat"
    assert image(target, b"a dog").read_bytes() == b"a dog"
    names = {path.name for path in target.iterdir()}
    assert names == {"lock", RECORD_FILE, "images", done.database.name}
    assert verify(target) == done


def test_images_of_a_collection_that_is_being_dropped_are_not_counted(data_dir: Path, target: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        (pets,) = await store.catalogue.list()
        await store.catalogue.drop(pets.number)
        await store.catalogue.clear(pets.number, 1)

    change(data_dir, work)
    counts = back_up(data_dir, target).counts
    assert (counts.n_collections, counts.n_images) == (0, 0)


def test_folder_is_copied_while_it_is_open_and_in_the_middle_of_a_write(data_dir: Path, target: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, {"late": b"late"})
        writer = sqlite3.connect(data_dir / DATABASE, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM images WHERE id = 'cat'")
        back_up(data_dir, target)
        writer.execute("ROLLBACK")
        writer.close()

    change(data_dir, work)
    assert ids(target) == ["again", "cat", "dog", "late"]
    verify(target)


def test_what_a_killed_server_had_committed_is_copied(data_dir: Path, target: Path) -> None:
    in_a_process_that_is_killed(data_dir, ["x", "y"])
    assert (data_dir / f"{DATABASE}-wal").stat().st_size > 0
    back_up(data_dir, target)
    assert ids(target) == ["again", "cat", "dog", "x", "y"]
    verify(target)


def test_second_backup_copies_what_is_new_and_forgets_what_was_deleted(data_dir: Path, target: Path) -> None:
    first = back_up(data_dir, target)
    kept = images(target)

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, {"cow": b"a cow"})
        await delete(store, files, "dog")

    change(data_dir, work)
    second = back_up(data_dir, target)
    assert ids(target) == ["again", "cat", "cow"]
    assert second.database.name != first.database.name
    assert images(target).keys() == {sha256_of(b"cat"), sha256_of(b"a cow")}
    assert images(target)[sha256_of(b"cat")] == kept[sha256_of(b"cat")]
    assert verify(target) == second


def test_backup_of_another_data_folder_is_not_replaced(tmp_path: Path, data_dir: Path, target: Path) -> None:
    first = back_up(data_dir, target)
    add(tmp_path / "other", {"cow": b"a cow"})
    complaint = f"holds the backup of another data folder, of 3 images, made {first.created_at}: choose"
    with pytest.raises(StoreError, match=re.escape(complaint)):
        back_up(tmp_path / "other", target)
    assert verify(target) == first


def test_folder_with_anything_else_in_it_is_refused_and_that_is_named(tmp_path: Path, data_dir: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "images").mkdir(parents=True)
    with pytest.raises(StoreError, match="holds no backup: it contains images"):
        back_up(data_dir, photos)
    add(tmp_path / "other", {"cow": b"a cow"})
    with pytest.raises(StoreError, match=f"holds no backup: it contains {DATABASE}"):
        back_up(data_dir, tmp_path / "other")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        back_up(data_dir, tmp_path / "file")


@pytest.mark.parametrize("inside", [".", "backup", "..", "images/../deep/er"])
def test_target_inside_of_the_data_folder_or_around_it_is_refused(data_dir: Path, inside: str) -> None:
    with pytest.raises(StoreError, match="one is inside the other"):
        back_up(data_dir, data_dir / inside)
    names = {path.name for path in data_dir.iterdir() if not path.name.startswith(DATABASE)}
    assert names == {"images", "lock", "thumbnails"}


def test_what_is_no_data_folder_is_refused_before_anything_is_made(tmp_path: Path, target: Path) -> None:
    with pytest.raises(StoreError, match=f"is not a data folder: it has no {DATABASE}"):
        back_up(tmp_path / "nowhere", target)
    (tmp_path / "empty").mkdir()
    sqlite3.connect(tmp_path / "empty" / DATABASE).close()
    with pytest.raises(StoreError, match="holds no collections"):
        back_up(tmp_path / "empty", target)
    (tmp_path / "empty" / DATABASE).write_bytes(b"no database at all " * 100)
    with pytest.raises(CorruptStore, match="is damaged: file is not a database"):
        back_up(tmp_path / "empty", target)
    assert not target.exists()


def test_two_backups_into_one_folder_at_once_are_refused_and_so_is_reading_it(
    data_dir: Path, target: Path
) -> None:
    back_up(data_dir, target)
    lock = DataLock(target)
    with pytest.raises(DataDirLocked, match=rf"backup folder {target} is in use by process {os.getpid()}"):
        back_up(data_dir, target)
    with pytest.raises(DataDirLocked, match="a backup is being made in"):
        verify(target)
    lock.close()
    verify(target)


@NEEDS_ROOT
def test_full_disk_is_said_and_the_backup_goes_on_when_there_is_room(data_dir: Path, tmp_path: Path) -> None:
    add(data_dir, {f"i{n}": bytes([n]) * 100_000 for n in range(20)})
    with small_disk(tmp_path / "small", 1) as disk:
        target = disk.folder
        with pytest.raises(StoreFull, match=r"the backup failed, no space is left in .* bytes free"):
            back_up(data_dir, target)
        with pytest.raises(StoreError, match="holds no complete backup"):
            verify(target)
        begun = images(target)
        disk.remount("size=8m")
        back_up(data_dir, target)
        assert begun.items() <= images(target).items()
        assert verify(target).counts.n_files == 22


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_file_that_the_data_folder_has_lost_is_said_and_the_rest_is_saved(
    data_dir: Path, target: Path, fault: str
) -> None:
    if fault == "missing":
        image(data_dir, b"cat").unlink()
    else:
        image(data_dir, b"cat").write_bytes(b"bat")
    done = back_up(data_dir, target)
    assert done.lost == {sha256_of(b"cat"): fault}
    assert not image(target, b"cat").exists()
    assert verify(target).lost == done.lost
    add(data_dir, {"cat": b"cat"})
    assert back_up(data_dir, target).lost == {}


def test_file_that_the_data_folder_lost_since_is_kept_from_the_backup_before(
    data_dir: Path, target: Path
) -> None:
    back_up(data_dir, target)
    image(data_dir, b"cat").unlink()
    assert back_up(data_dir, target).lost == {}
    assert image(target, b"cat").read_bytes() == b"cat"


@pytest.mark.parametrize("damage", [truncate, Path.unlink], ids=["cut", "gone"])
def test_file_that_is_cut_or_gone_in_the_backup_is_copied_anew_by_repeating_it(
    data_dir: Path, target: Path, damage: Callable[[Path], None]
) -> None:
    back_up(data_dir, target)
    kept = images(target)[sha256_of(b"a dog")]
    damage(image(target, b"cat"))
    done = back_up(data_dir, target)
    assert done.lost == {}
    assert images(target)[sha256_of(b"a dog")] == kept
    assert verify(target) == done


def test_damaged_database_of_the_backup_is_copied_anew_by_repeating_it(data_dir: Path, target: Path) -> None:
    first = back_up(data_dir, target)
    flip(target / first.database.name)
    second = back_up(data_dir, target)
    assert second.database == first.database
    assert verify(target) == second


def test_damaged_page_is_noticed_and_the_earlier_backup_stays(data_dir: Path, target: Path) -> None:
    add(data_dir, {f"i{n}": f"image {n}".encode() for n in range(300)})
    first = back_up(data_dir, target)
    with (data_dir / DATABASE).open("r+b") as file:
        file.seek(-4096 * 2, os.SEEK_END)
        file.write(b"\xff" * 4096)
    with pytest.raises(CorruptStore, match="is damaged"):
        back_up(data_dir, target)
    assert verify(target) == first


def test_verify_finds_a_flipped_bit_a_missing_file_and_a_changed_database(
    data_dir: Path, target: Path
) -> None:
    done = back_up(data_dir, target)
    flip(image(target, b"cat"))
    image(target, b"a dog").unlink()
    with pytest.raises(CorruptStore, match="2 of 2 image files of the backup are bad") as bad:
        verify(target)
    assert f"{sha256_of(b'cat')} is damaged (pets/again, pets/cat)" in str(bad.value)
    assert f"{sha256_of(b'a dog')} is missing (pets/dog)" in str(bad.value)
    flip(target / done.database.name)
    with pytest.raises(CorruptStore, match=rf"{done.database.name} is damaged: its sha256 is"):
        verify(target)
    (target / done.database.name).unlink()
    with pytest.raises(CorruptStore, match=rf"{done.database.name} cannot be read: No such file"):
        verify(target)


def test_record_that_is_cut_short_or_of_a_newer_format_is_refused(data_dir: Path, target: Path) -> None:
    back_up(data_dir, target)
    record = json.loads((target / RECORD_FILE).read_text())
    (target / RECORD_FILE).write_text(json.dumps(record)[:-20])
    with pytest.raises(CorruptStore, match="is not a record of a backup"):
        verify(target)
    (target / RECORD_FILE).write_text(json.dumps(record | {"format": 2}))
    with pytest.raises(StoreError, match="has backup format 2, this version of diptych knows up to 1"):
        verify(target)


def keep(data_dir: Path, model_repo: Path, *versions: int) -> list[str]:
    """Keep versions in the data folder, as a server does; return the sha256 of their manifests."""
    kept, digests = KeptBundles(data_dir / "models"), []
    for version in versions:
        folder = ModelRepository(model_repo).folder(TINY, version)
        digests.append(bundle_digest(folder))
        if kept.folder(digests[-1]) is None:
            kept.add(digests[-1], folder)
        else:
            kept.add_calibration(digests[-1], calibration_file(folder))
    kept.retain(digests)
    return digests


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "models").rglob("*")
        if path.is_file()
    }


def test_kept_versions_are_copied_and_restored(model_repo: Path, data_dir: Path, tmp_path: Path) -> None:
    digests = keep(data_dir, model_repo, 1, 2)
    backup = tmp_path / "backup"
    record = back_up(data_dir, backup)
    assert sorted(record.bundles) == sorted(digests)
    assert files(backup) == files(data_dir) != {}
    assert {path.stat().st_nlink for path in (backup / "models").rglob("*") if path.is_file()} == {1}
    assert {oct(path.stat().st_mode & 0o077) for path in backup.rglob("*")} == {"0o0"}
    assert verify(backup) == record
    shutil.rmtree(data_dir)
    restored(backup, data_dir)
    assert files(data_dir) == files(backup)
    assert contents(data_dir) == PETS


def test_calibrations_of_kept_versions_are_copied_and_restored(
    model_repo: Path, data_dir: Path, tmp_path: Path
) -> None:
    keep(data_dir, model_repo, 1, 2)
    backup = tmp_path / "backup"
    back_up(data_dir, backup)
    calibration = write_tiny_calibration(model_repo)
    first, second = keep(data_dir, model_repo, 1, 2)
    calibration.unlink()
    back_up(data_dir, backup)
    assert [path.name for path in (backup / "models").glob(f"*{SUFFIX}")] == [f"{first[:16]}{SUFFIX}"]
    assert files(backup) == files(data_dir)
    restored(backup, tmp_path / "restored")
    assert files(tmp_path / "restored") == files(data_dir)
    keep(data_dir, model_repo, 2)
    back_up(data_dir, backup)
    assert [path.name for path in (backup / "models").iterdir()] == [second[:16]]


def test_next_backup_has_only_what_is_kept_then(model_repo: Path, data_dir: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert back_up(data_dir, backup).bundles == ()
    keep(data_dir, model_repo, 1)
    back_up(data_dir, backup)
    (second,) = keep(data_dir, model_repo, 2)
    assert back_up(data_dir, backup).bundles == (second,)
    assert files(backup) == files(data_dir)
    keep(data_dir, model_repo)
    assert back_up(data_dir, backup).bundles == ()
    assert files(backup) == {}


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damaged_version_is_named_and_can_be_left_out(
    model_repo: Path, data_dir: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    first, second = keep(data_dir, model_repo, 1, 2)
    backup, target = tmp_path / "backup", tmp_path / "restored"
    back_up(data_dir, backup)
    damage(backup / "models" / first[:16] / "tokenizer.json")
    message = rf"the model version {first[:16]} of the backup is bad: .*--without-damaged"
    with pytest.raises(CorruptStore, match=message):
        verify(backup)
    with pytest.raises(CorruptStore, match=message):
        restored(backup, target)
    restored(backup, target, without_damaged=True)
    assert KeptBundles(target / "models").bundles() == [second]
    assert contents(target) == PETS
