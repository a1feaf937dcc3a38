"""Data folders made of backups: whole or not there, and never over what somebody may still want."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.index_files import FOLDER as INDEX_FOLDER
from diptych.adapters.files.key_file import KEY_FILE, USES_FILE, KeyFile
from diptych.adapters.sqlite.schema import OLDEST, VERSION
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import LostImage
from diptych.core.collections.stored.ids import sha256_of
from diptych.core.keys.key import new_key
from diptych.errors import CorruptStore, DataDirLocked, StoreError, StoreFull
from durability.small_disk import NEEDS_ROOT, read_only, small_disk
from integration.backup_parts import PETS, back_up, image, record_of
from integration.backup_parts import restored as restore
from integration.data_folders import COLLECTION, add, contents, in_a_process_that_is_killed

OTHERS = {"cow": b"a cow", "cat": b"another cat"}


@pytest.fixture
def backup(data_dir: Path, tmp_path: Path) -> Path:
    back_up(data_dir, tmp_path / "backup")
    return tmp_path / "backup"


@pytest.fixture
def restored(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "restored"


def test_everything_is_there_and_can_be_changed_again(backup: Path, restored: Path) -> None:
    assert record_of(restore(backup, restored)).counts.n_images == 3
    assert contents(restored) == PETS
    add(restored, {"cow": b"a cow"})
    assert contents(restored) == PETS | {"cow": b"a cow"}
    assert sorted(path.name for path in restored.iterdir()) == [DATABASE, "images", "lock", "thumbnails"]


def test_keys_are_in_no_backup_and_survive_a_restore(backup: Path, restored: Path) -> None:
    for folder in (backup.parent / "data", restored):
        KeyFile(folder / KEY_FILE, folder / USES_FILE).add(new_key(folder.name, ["read"])[0])
    back_up(backup.parent / "data", backup)
    assert not [path for path in backup.rglob("*") if "key" in path.name]
    restore(backup, restored)
    assert contents(restored) == PETS
    kept = KeyFile(restored / KEY_FILE, restored / USES_FILE).read()
    assert [key.name for key in kept or []] == [restored.name]


@NEEDS_ROOT
def test_backup_without_its_lock_on_a_disk_for_reading_only_is_restored(backup: Path, restored: Path) -> None:
    (backup / "lock").unlink()
    with read_only(backup):
        restore(backup, restored)
    assert (restored / DATABASE).stat().st_mode & 0o777 == 0o600
    assert contents(restored) == PETS


def test_folder_in_use_is_refused_and_its_holder_named(backup: Path, restored: Path) -> None:
    lock = DataLock(restored)
    for replace in (False, True):
        with pytest.raises(DataDirLocked, match=rf"in use by process {os.getpid()}"):
            restore(backup, restored, replace=replace)
    lock.close()
    restore(backup, restored)


def test_folder_that_holds_collections_is_refused_and_left_as_it_is(backup: Path, restored: Path) -> None:
    add(restored, OTHERS)
    with pytest.raises(StoreError, match=r"is not empty, it holds 2 images in 1 collections: .* --replace"):
        restore(backup, restored)
    assert contents(restored) == OTHERS


def test_folder_with_other_files_is_refused_and_they_are_named(backup: Path, restored: Path) -> None:
    restored.mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        (restored / name).write_bytes(b"")
    with pytest.raises(StoreError, match="is not empty, it holds a, b, c and 1 more"):
        restore(backup, restored)
    restore(backup, restored, replace=True)
    assert contents(restored) == PETS
    assert (restored / "d").exists()


def test_log_of_a_killed_server_does_not_leak_into_what_replaces_it(backup: Path, restored: Path) -> None:
    add(restored, OTHERS)
    in_a_process_that_is_killed(restored, ["x", "y"])
    restore(backup, restored, replace=True)
    assert not (restored / f"{DATABASE}-wal").exists()
    assert contents(restored) == PETS


def test_files_of_indexes_go_with_the_database_that_they_belong_to(backup: Path, restored: Path) -> None:
    add(restored, OTHERS)
    (restored / INDEX_FOLDER).mkdir()
    (restored / INDEX_FOLDER / "1_a.ivf").write_bytes(b"keys of other images")
    restore(backup, restored, replace=True)
    assert contents(restored) == PETS
    assert not (restored / INDEX_FOLDER).exists()


def test_damaged_data_folder_is_replaced_and_damaged_files_are_mended(backup: Path, restored: Path) -> None:
    add(restored, PETS)
    (restored / DATABASE).write_bytes(b"no database at all " * 1000)
    image(restored, b"cat").write_bytes(b"bat")
    kept = image(restored, b"a dog").stat().st_ino
    restore(backup, restored, replace=True)
    assert contents(restored) == PETS
    assert image(restored, b"a dog").stat().st_ino == kept


def damaged(backup: Path, damage: str) -> Path:
    """The backup, with the file of the cat damaged so, of which there are two images."""
    file = image(backup, b"cat")
    match damage:
        case "flipped":
            file.write_bytes(b"cau")
        case "cut":
            file.write_bytes(b"ca")
        case "gone":
            file.unlink()
    return backup


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_backup_with_a_bad_file_is_refused_with_how_many_and_which_and_what_to_do(
    backup: Path, restored: Path, damage: str
) -> None:
    add(restored, OTHERS)
    fault = "missing" if damage == "gone" else "damaged"
    with pytest.raises(CorruptStore) as refused:
        restore(damaged(backup, damage), restored, replace=True)
    file = image(backup, b"cat")
    said = f"1 of 2 image files of the backup are bad: {file} is {fault} (pets/again, pets/cat); "
    assert str(refused.value).startswith(said)
    assert "`diptych restore --without-damaged`" in str(refused.value)
    assert contents(restored) == OTHERS


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_without_damaged_restores_all_else_and_names_what_is_lost_by_id(
    backup: Path, restored: Path, damage: str
) -> None:
    done = restore(damaged(backup, damage), restored, without_damaged=True)
    cat, fault = sha256_of(b"cat"), "missing" if damage == "gone" else "damaged"
    assert done.lost_images == (
        LostImage(COLLECTION, "again", cat, fault),
        LostImage(COLLECTION, "cat", cat, fault),
    )
    assert image(restored, b"a dog").read_bytes() == b"a dog"
    assert not image(restored, b"cat").exists()
    with pytest.raises(CorruptStore, match=f"the file of image {cat} is missing"):
        contents(restored)
    add(restored, {"cat": b"cat"})
    assert contents(restored) == PETS


def test_damaged_database_is_refused_before_anything_is_touched_whatever_is_asked(
    backup: Path, restored: Path
) -> None:
    add(restored, OTHERS)
    (database,) = backup.glob("database-*")
    database.write_bytes(database.read_bytes()[:-1])
    for without_damaged in (False, True):
        with pytest.raises(CorruptStore, match=r"is damaged: its sha256 .* nothing can be restored"):
            restore(backup, restored, replace=True, without_damaged=without_damaged)
    assert contents(restored) == OTHERS


def test_database_that_changes_while_it_is_copied_replaces_nothing(
    backup: Path, restored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(restored, OTHERS)
    copyfile = shutil.copyfile

    def changed(source: Path, target: Path) -> None:
        copyfile(source, target)
        with target.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(shutil, "copyfile", changed)
    with pytest.raises(CorruptStore, match=r"database-\S+ changed while it was restored"):
        restore(backup, restored, replace=True)
    assert contents(restored) == OTHERS


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (VERSION + 1, f"schema {VERSION + 1}, this version of diptych knows up to {VERSION}"),
        (OLDEST - 1, f"schema {OLDEST - 1}, this version converts schema {OLDEST} at the oldest"),
    ],
)
def test_unknown_schema_is_refused_before_anything_is_made(
    backup: Path, restored: Path, version: int, complaint: str
) -> None:
    written = f'"schema_version": {VERSION}'
    content = (backup / "backup.json").read_text()
    assert written in content
    (backup / "backup.json").write_text(content.replace(written, f'"schema_version": {version}'))
    with pytest.raises(StoreError, match=complaint):
        restore(backup, restored)
    assert not restored.exists()


def test_folder_inside_of_the_backup_or_around_it_is_refused(backup: Path) -> None:
    for folder in (backup / "data", backup.parent):
        with pytest.raises(StoreError, match="one is inside the other"):
            restore(backup, folder, replace=True)


@NEEDS_ROOT
def test_full_disk_is_said_and_the_restore_goes_on_when_there_is_room(tmp_path: Path) -> None:
    pets = {f"i{n}": bytes([n]) * (100_000 + n) for n in range(20)}
    add(tmp_path / "data", pets)
    back_up(tmp_path / "data", tmp_path / "backup")
    with small_disk(tmp_path / "small", 1) as disk:
        restored = disk.folder
        with pytest.raises(StoreFull, match="the restore failed, no space is left"):
            restore(tmp_path / "backup", restored)
        disk.remount("size=8m")
        restore(tmp_path / "backup", restored)
        assert contents(restored) == pets


def test_database_of_the_backup_stays_without_a_log(backup: Path, restored: Path) -> None:
    restore(backup, restored)
    (database,) = backup.glob("database-*")  # and no -wal or -shm beside it
    with sqlite3.connect(database) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
