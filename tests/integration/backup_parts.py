"""Create, read and damage backups."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from diptych.adapters.backup import create, folder, restore
from diptych.core.backup import BackupRecord, Outcome
from diptych.core.collections.stored.ids import sha256_of

PETS = {"cat": b"cat", "dog": b"a dog", "again": b"cat"}


class Silent:
    """A progress display that shows nothing."""

    def begin(self, work: str, n_steps: int) -> None: ...

    def advance(self, n_steps: int = 1) -> None: ...


def record_of(done: Outcome) -> BackupRecord:
    """Return the record of a finished backup."""
    assert done.record is not None
    return done.record


def back_up(data_dir: Path, target: Path) -> BackupRecord:
    """Back up a data folder into the target; return the backup's record."""
    return record_of(create.back_up(data_dir, target, Silent()))


def verify(target: Path) -> BackupRecord:
    """Verify every file of a backup; return its record."""
    return record_of(folder.verify(target, Silent()))


def restored(
    target: Path, data_dir: Path, *, replace: bool = False, without_damaged: bool = False
) -> Outcome:
    """Restore a backup into a data folder; return the outcome."""
    return restore.restore(target, data_dir, Silent(), replace=replace, without_damaged=without_damaged)


def image(target: Path, payload: bytes) -> Path:
    """Return the path of the image file with these bytes in a backup or a data folder."""
    sha256 = sha256_of(payload)
    return target / "images" / sha256[:2] / sha256


def images(target: Path) -> Mapping[str, int]:
    """Map the name of each image file to its inode, which changes when the file is written again."""
    return {path.name: path.stat().st_ino for path in target.glob("images/*/*")}


def ids(target: Path) -> list[str]:
    """Return the ids of all images in the backup's database."""
    (database,) = target.glob("database-*.sqlite3")
    with sqlite3.connect(database) as db:
        return [id for (id,) in db.execute("SELECT id FROM images ORDER BY id")]


def flip(file: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Remove the last byte of a file."""
    file.write_bytes(file.read_bytes()[:-1])
