"""Backups of real data folders: complete or not there, resumed, and never into the wrong place."""

import os
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from diptych.adapters.backup.create import MAX_COPIES
from diptych.adapters.backup.folder import RECORD_FILE
from diptych.adapters.files import image_tree
from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.sqlite.schema import VERSION
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.core.collections.ids import sha256_of
from diptych.durable import write_durably
from diptych.errors import CorruptStore, DataDirLocked, StoreError, StoreFull, StoreReadOnly
from durability.small_disk import NEEDS_ROOT, read_only, small_disk
from integration.backup_parts import back_up, ids, image, images, verify
from integration.data_folders import (
    COLLECTION,
    IDENTITY,
    REF,
    add,
    change,
    delete,
    in_a_process_that_is_killed,
    number_of,
    put,
    row,
)


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


def test_backup_is_no_hard_link_and_can_be_read_by_its_owner_alone(data_dir: Path, target: Path) -> None:
    done = back_up(data_dir, target)
    assert image(target, b"cat").stat().st_nlink == 1
    modes = [target, target / "images", target / done.database.name]
    assert [path.stat().st_mode & 0o077 for path in modes] == [0, 0, 0]


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


def break_at_copy(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process ends, as far as the backup can tell, when it copies so many files."""
    numbers = count(1)

    def write(path: Path, payload: bytes) -> None:
        if next(numbers) >= number:
            raise KeyboardInterrupt
        write_durably(path, payload)

    monkeypatch.setattr(image_tree, "write_durably", write)


def after_the_database_is_copied(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], None]) -> None:
    """The data folder changes before any image file is copied: one change after each copy."""
    rest, copy_to = iter(changes), SqliteSnapshot.copy_to

    def copy_and_change(snapshot: SqliteSnapshot, file: Path) -> None:
        copy_to(snapshot, file)
        next(rest, lambda: None)()

    monkeypatch.setattr(SqliteSnapshot, "copy_to", copy_and_change)


def deleted(data_dir: Path, id: str) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await delete(store, files, id)

    change(data_dir, work)


def test_image_that_is_deleted_before_it_is_copied_is_not_in_the_backup(
    data_dir: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_database_is_copied(monkeypatch, lambda: deleted(data_dir, "dog"))
    assert back_up(data_dir, target).lost == {}
    assert ids(target) == ["again", "cat"]
    assert images(target).keys() == {sha256_of(b"cat")}


def test_image_that_is_replaced_before_it_is_copied_is_in_the_backup_with_its_new_bytes(
    data_dir: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_the_database_is_copied(monkeypatch, lambda: add(data_dir, {"dog": b"another dog"}))
    assert back_up(data_dir, target).lost == {}
    assert ids(target) == ["again", "cat", "dog"]
    assert images(target).keys() == {sha256_of(b"cat"), sha256_of(b"another dog")}


def test_deleting_faster_than_copying_ends_the_backup_after_so_many_copies(
    data_dir: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(data_dir, {"dog": b"dog 0"})
    replacements = [partial(add, data_dir, {"dog": b"dog %d" % (n + 1)}) for n in range(MAX_COPIES)]
    after_the_database_is_copied(monkeypatch, *replacements)
    with pytest.raises(StoreError, match=f"{MAX_COPIES} times in a row"):
        back_up(data_dir, target)
    with pytest.raises(StoreError, match="holds no complete backup"):
        verify(target)
    back_up(data_dir, target)
    verify(target)


def test_broken_off_backup_is_none_and_is_resumed_without_copying_twice(
    data_dir: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(data_dir, {f"i{n}": f"image {n}".encode() for n in range(40)})
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        break_at_copy(broken, 20)
        back_up(data_dir, target)
    begun = images(target)
    assert 0 < len(begun) < 42
    with pytest.raises(StoreError, match=r"holds no complete backup: it has no backup.json"):
        verify(target)
    back_up(data_dir, target)
    assert begun.items() <= images(target).items()
    assert verify(target).counts.n_files == 42


def test_broken_off_second_backup_leaves_the_first_one_complete(
    data_dir: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(data_dir, target)

    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await delete(store, files, "dog")
        await put(store, files, {f"i{n}": f"image {n}".encode() for n in range(20)})

    change(data_dir, work)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        break_at_copy(broken, 10)
        back_up(data_dir, target)
    assert verify(target) == first
    assert ids(target) == ["again", "cat", "dog"]


def test_leftovers_of_a_killed_copy_are_removed(data_dir: Path, target: Path) -> None:
    back_up(data_dir, target)
    leftover = image(target, b"cat").with_name(".tmp-123")
    leftover.write_bytes(b"ca")
    back_up(data_dir, target)
    assert not leftover.exists()


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


def test_newer_schema_is_refused(data_dir: Path, target: Path) -> None:
    newer = VERSION + 1
    with sqlite3.connect(data_dir / DATABASE) as db:
        db.execute("INSERT INTO schema_version VALUES (?, 'later')", (newer,))
    with pytest.raises(StoreError, match=f"has schema {newer}, this version knows up to"):
        back_up(data_dir, target)


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


def test_rows_that_keep_no_image_are_copied_and_no_file_is_asked_for(data_dir: Path, target: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        vectors = [replace(row(f"vector {n}", b"numbers %d" % n), kept=False) for n in range(5)]
        await store.writer.put(await number_of(store, COLLECTION), vectors, identity=IDENTITY, replace=False)

    change(data_dir, work)
    done = back_up(data_dir, target)
    assert (done.counts.n_images, done.counts.n_files, done.lost) == (8, 2, {})
    assert len(ids(target)) == 8
    assert verify(target) == done


@NEEDS_ROOT
def test_read_only_disk_is_said(data_dir: Path, target: Path) -> None:
    back_up(data_dir, target)
    with read_only(target), pytest.raises(StoreReadOnly, match="Read-only file system"):
        back_up(data_dir, target)
    with read_only(target):
        verify(target)


def test_collection_without_images_is_backed_up(tmp_path: Path, target: Path) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await store.catalogue.create(COLLECTION, "original", IDENTITY, REF)

    change(tmp_path / "data", work)
    done = back_up(tmp_path / "data", target)
    assert (done.counts.n_collections, done.counts.n_images) == (1, 0)
    assert verify(target) == done
