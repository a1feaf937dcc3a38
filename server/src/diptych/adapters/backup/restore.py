"""Restores a backup into a data folder, which servers cannot use meanwhile."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from diptych.adapters.backup.folder import BackupFolder, digest_of, faults_of, require_apart
from diptych.adapters.files.data_lock import LOCK_FILE, DataLock
from diptych.adapters.files.database_id import refuse_rows_elsewhere
from diptych.adapters.files.disk_errors import disk_errors_translated
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.files.index_files import FOLDER as INDEX_FOLDER
from diptych.adapters.files.kept_bundles import FOLDER as BUNDLES
from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.files.key_file import NAMES as KEY_FILES
from diptych.adapters.files.private_files import FILE_MODE, make_new
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import Outcome, Report
from diptych.durable import fsync_file, fsync_folder, write_durably
from diptych.errors import CorruptStore, DiptychError, StoreError

UNFINISHED = ".tmp-restore"  # marks a folder that was empty until the restore is complete
UNFINISHED_DATABASE = ".tmp-restore.sqlite3"
IMAGES = "images"


def refuse_unfinished(data_dir: Path) -> None:
    """Raises StoreError for a folder with an interrupted restore, which would seem to be empty."""
    if (data_dir / UNFINISHED).exists():
        raise StoreError(f"data folder {data_dir} holds an unfinished restore: repeat `diptych restore`")


def restore(
    folder: Path, data_dir: Path, report: Report, *, replace: bool, without_damaged: bool = False
) -> Outcome:
    """Restore the backup in `folder` into `data_dir`.

    `data_dir` is filled in place, and not replaced by a rename, because a data folder is often a volume of
    its own. Image files come first: each is compared with its sha256 and appears by a rename. The rename of
    the database completes the restore; until then a folder that was in use keeps its old contents. The next
    start of the server removes files that the new database does not refer to. With `without_damaged`, images
    whose file is damaged are restored without their file.

    Raises CorruptStore naming what is damaged; DataDirLocked; StoreError for a `data_dir` that is not empty,
    unless `replace` is set.
    """
    with closing(BackupFolder(folder)) as backup, disk_errors_translated("the restore", data_dir):
        require_apart(data_dir, folder)
        if data_dir.exists() and not data_dir.is_dir():
            raise StoreError(f"{data_dir} is a file, not a data folder")
        refuse_rows_elsewhere(data_dir)
        with closing(DataLock(data_dir)):
            if not replace and not (data_dir / UNFINISHED).exists():
                _require_empty(data_dir)
            backup.check_database(report)
            _begin(data_dir)
            images = ImageTree(data_dir / IMAGES)
            with backup.snapshot() as snapshot:
                report.begin("restoring images", backup.record.counts.n_files)
                faults = faults_of(images.copy(backup.images, snapshot.files(), trusted=False), report)
                if not without_damaged:
                    backup.require_files(faults, snapshot)
                lost = snapshot.lost_images(faults)
            images.sync()
            _restore_bundles(backup, data_dir, report, without_damaged=without_damaged)
            _replace_database(backup, data_dir, report)
            return Outcome(backup.record, lost)


def _begin(data_dir: Path) -> None:
    """Mark a folder without a database as unfinished, so that no server uses half a restore."""
    if not (data_dir / DATABASE).exists():
        (data_dir / UNFINISHED).touch(mode=FILE_MODE)
        write_durably(data_dir / UNFINISHED, b"")
        fsync_folder(data_dir)


def _restore_bundles(backup: BackupFolder, data_dir: Path, report: Report, *, without_damaged: bool) -> None:
    """Copy the model versions; one that is damaged may still be in the model repository.

    The next start of the server removes those that only the old contents needed.
    """
    copies = KeptBundles(data_dir / BUNDLES)
    report.begin("restoring models", len(backup.record.bundles))
    for sha256 in backup.record.bundles:
        try:
            folder = backup.bundle(sha256, report)
        except CorruptStore:
            if not without_damaged:
                raise
        else:
            copies.add(sha256, folder)


def _replace_database(backup: BackupFolder, data_dir: Path, report: Report) -> None:
    """Copy the database and rename it over the old one, which completes the restore."""
    unfinished, recorded = data_dir / UNFINISHED_DATABASE, backup.record.database
    make_new(unfinished)
    shutil.copyfile(backup.database, unfinished)
    fsync_file(unfinished)
    report.begin("checking the database", recorded.n_bytes)
    if digest_of(unfinished, report) != recorded.sha256:
        raise CorruptStore(f"{backup.database} changed while it was restored")
    _remove_log(data_dir / DATABASE)
    if (data_dir / INDEX_FOLDER).exists():
        shutil.rmtree(data_dir / INDEX_FOLDER)  # its keys may be given to other images
    unfinished.replace(data_dir / DATABASE)
    fsync_folder(data_dir)
    (data_dir / UNFINISHED).unlink(missing_ok=True)
    fsync_folder(data_dir)


def _require_empty(folder: Path) -> None:
    names = sorted({path.name for path in folder.iterdir()} - {LOCK_FILE, "lost+found", *KEY_FILES})
    if not names:
        return
    raise StoreError(
        f"data folder {folder} is not empty, it holds {_contents(folder, names)}: "
        "restore into another folder, or pass --replace to replace its contents by the backup"
    )


def _contents(folder: Path, names: list[str]) -> str:
    if DATABASE in names:
        with suppress(DiptychError), SqliteSnapshot(folder / DATABASE) as snapshot:
            counts = snapshot.counts()
            return f"{counts.n_images} images in {counts.n_collections} collections"
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _remove_log(database: Path) -> None:
    """Remove the log of the old database, which SQLite would apply to the new one."""
    with suppress(sqlite3.DatabaseError):  # it may be damaged: that may be the reason for the restore
        if database.exists():
            with closing(sqlite3.connect(database, isolation_level=None)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                db.execute("PRAGMA journal_mode = DELETE")
    for suffix in ("-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    fsync_folder(database.parent)
