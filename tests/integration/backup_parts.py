"""What tests of backups share: making one, reading it, and spoiling its files."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from diptych.adapters.backup import create, folder, restore
from diptych.core.backup import BackupRecord, Outcome
from diptych.core.collections.ids import sha256_of

PETS = {"cat": b"cat", "dog": b"a dog", "again": b"cat"}


class Silent:
    """Progress that nobody is told of."""

    def begin(self, work: str, n_steps: int) -> None: ...

    def advance(self, n_steps: int = 1) -> None: ...


def record_of(done: Outcome) -> BackupRecord:
    """That of a backup."""
    assert done.record is not None
    return done.record


def back_up(data_dir: Path, target: Path) -> BackupRecord:
    """Into the target: what the record of it says."""
    return record_of(create.back_up(data_dir, target, Silent()))


def verify(target: Path) -> BackupRecord:
    """Read the whole backup: its record."""
    return record_of(folder.verify(target, Silent()))


def restored(
    target: Path, data_dir: Path, *, replace: bool = False, without_damaged: bool = False
) -> Outcome:
    """What became of the restore."""
    return restore.restore(target, data_dir, Silent(), replace=replace, without_damaged=without_damaged)


def image(target: Path, payload: bytes) -> Path:
    """The file of these bytes, in a backup or a data folder."""
    sha256 = sha256_of(payload)
    return target / "images" / sha256[:2] / sha256


def images(target: Path) -> Mapping[str, int]:
    """Name -> inode of all image files: a file that is written anew has another one."""
    return {path.name: path.stat().st_ino for path in target.glob("images/*/*")}


def ids(target: Path) -> list[str]:
    """Of the backup's rows."""
    (database,) = target.glob("database-*.sqlite3")
    with sqlite3.connect(database) as db:
        return [id for (id,) in db.execute("SELECT id FROM images ORDER BY id")]


def flip(file: Path) -> None:
    """One bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Without its last byte."""
    file.write_bytes(file.read_bytes()[:-1])
