"""What tests of backups share: making one, reading it, and spoiling its files."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from diptych.cli.data_folders import back_up_folder, verify_backup
from diptych.core.backup import BackupRecord
from diptych.core.names import sha256_of

PETS = {"cat": b"cat", "dog": b"a dog", "again": b"cat"}


class Silent:
    """Progress that nobody is told of."""

    def begin(self, work: str, n_steps: int) -> None: ...

    def advance(self, n_steps: int = 1) -> None: ...


def back_up(data_dir: Path, target: Path) -> BackupRecord:
    """Into the target: what the record of it says."""
    return back_up_folder(data_dir, target, Silent()).record


def verify(target: Path) -> BackupRecord:
    """Read the whole backup: its record."""
    return verify_backup(target, Silent())


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
