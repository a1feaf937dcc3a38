"""Data folders and backups of them: which adapters check, repair, make and restore them.

Not part of wiring, which loads the model's runtime: a backup needs neither that nor a server.
"""

from contextlib import closing
from pathlib import Path

from diptych.adapters.backup_folder import BackupFolder
from diptych.adapters.backup_target import BackupTarget
from diptych.adapters.data_folder import DataFolder
from diptych.adapters.data_lock import DataLock
from diptych.adapters.restore_target import RestoreTarget
from diptych.adapters.sqlite_repair import rebuild_indexes
from diptych.adapters.sqlite_store import DATABASE
from diptych.core.backup import BackupRecord, Outcome, Report, back_up
from diptych.core.restore import restore, verify


def back_up_folder(data_dir: Path, target: Path, report: Report, *, sizes_only: bool = False) -> Outcome:
    """Back up a data folder, served or not. Raises StoreError, CorruptStore, DataDirLocked."""
    source = DataFolder(data_dir)
    with closing(BackupTarget(target, source)) as opened:
        return back_up(source, opened, report, sizes_only=sizes_only)


def verify_backup(folder: Path, report: Report) -> BackupRecord:
    """Read every byte of a backup. Raises CorruptStore naming what is bad, StoreError, DataDirLocked."""
    with closing(BackupFolder(folder)) as backup:
        verify(backup, report)
        return backup.record


def restore_backup(
    folder: Path, data_dir: Path, report: Report, *, replace: bool, without_damaged: bool = False
) -> Outcome:
    """Verify a backup and make a data folder of it. Raises as above; StoreError for one that is not empty."""
    with (
        closing(BackupFolder(folder)) as backup,
        closing(RestoreTarget(data_dir, backup, replace=replace)) as to,
    ):
        return restore(backup, to, report, without_damaged=without_damaged)


def check_database(data_dir: Path) -> None:
    """Of a folder that may be served. Raises CorruptStore, as a start would, and StoreError."""
    with DataFolder(data_dir).snapshot() as snapshot:
        snapshot.require_sound()


def repair_database(data_dir: Path) -> list[str]:
    """The indexes that were damaged and are built anew. Raises CorruptStore for more, DataDirLocked."""
    with DataFolder(data_dir).snapshot():  # it is one, and of no newer version
        pass
    lock = DataLock(data_dir)
    try:
        return rebuild_indexes(data_dir / DATABASE)
    finally:
        lock.release()
