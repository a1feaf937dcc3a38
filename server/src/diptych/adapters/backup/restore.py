"""Make a data folder of a backup, and keep servers out meanwhile."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from diptych.adapters.backup.folder import BackupFolder, digest_of, faults_of, require_apart
from diptych.adapters.files.data_lock import LOCK_FILE, DataLock
from diptych.adapters.files.disk_errors import disk_errors_translated
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.files.private_files import FILE_MODE, make_new
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import Outcome, Report
from diptych.durable import fsync_file, fsync_folder, write_durably
from diptych.errors import CorruptStore, DiptychError, StoreError

UNFINISHED = ".tmp-restore"  # in a folder that was empty, until all is there
UNFINISHED_DATABASE = ".tmp-restore.sqlite3"
IMAGES = "images"


def refuse_unfinished(data_dir: Path) -> None:
    """Raises StoreError for a folder in which a restore was broken off: served, it would look empty."""
    if (data_dir / UNFINISHED).exists():
        raise StoreError(f"data folder {data_dir} holds an unfinished restore: repeat `diptych restore`")


def restore(
    folder: Path, data_dir: Path, report: Report, *, replace: bool, without_damaged: bool = False
) -> Outcome:
    """Make `data_dir` a data folder with what is in the backup.

    `data_dir` itself is filled, not a folder beside it that is renamed: a data folder is often a volume of
    its own. Image files come first, each compared with its sha256 and by a rename. The rename of the database
    is the moment at which all of the backup is there; until then a folder that was in use is what it was.
    Files that the new database does not speak of are removed by the next start of the server, as all such
    files are. `without_damaged` restores images whose file is bad without it.

    Raises CorruptStore naming what is bad, DataDirLocked, and StoreError for a `data_dir` that is not empty,
    unless the backup may `replace` what is in it.
    """
    with closing(BackupFolder(folder)) as backup, disk_errors_translated("the restore", data_dir):
        require_apart(data_dir, folder)
        if data_dir.exists() and not data_dir.is_dir():
            raise StoreError(f"{data_dir} is a file, not a data folder")
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
            _replace_database(backup, data_dir, report)
            return Outcome(backup.record, lost)


def _begin(data_dir: Path) -> None:
    """Mark a folder without a database as unfinished, so that nobody serves the half of it."""
    if not (data_dir / DATABASE).exists():
        (data_dir / UNFINISHED).touch(mode=FILE_MODE)
        write_durably(data_dir / UNFINISHED, b"")
        fsync_folder(data_dir)


def _replace_database(backup: BackupFolder, data_dir: Path, report: Report) -> None:
    """From now on this is the data folder."""
    unfinished, said = data_dir / UNFINISHED_DATABASE, backup.record.database
    make_new(unfinished)
    shutil.copyfile(backup.database, unfinished)
    fsync_file(unfinished)
    report.begin("checking the database", said.n_bytes)
    if digest_of(unfinished, report) != said.sha256:
        raise CorruptStore(f"{backup.database} changed while it was restored")
    _forget_log(data_dir / DATABASE)
    unfinished.replace(data_dir / DATABASE)
    fsync_folder(data_dir)
    (data_dir / UNFINISHED).unlink(missing_ok=True)
    fsync_folder(data_dir)


def _require_empty(folder: Path) -> None:
    names = sorted({path.name for path in folder.iterdir()} - {LOCK_FILE, "lost+found"})
    if not names:
        return
    raise StoreError(
        f"data folder {folder} is not empty, it holds {_contents(folder, names)}: "
        "restore into another one, or say --replace to have the backup in place of what it holds"
    )


def _contents(folder: Path, names: list[str]) -> str:
    if DATABASE in names:
        with suppress(DiptychError), SqliteSnapshot(folder / DATABASE) as snapshot:
            counts = snapshot.counts()
            return f"{counts.n_images} images in {counts.n_collections} collections"
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _forget_log(database: Path) -> None:
    """A log that the replaced database left behind would be taken for one of the new database."""
    with suppress(sqlite3.DatabaseError):  # it may be damaged, which is why it is replaced
        if database.exists():
            with closing(sqlite3.connect(database, isolation_level=None)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                db.execute("PRAGMA journal_mode = DELETE")
    for suffix in ("-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    fsync_folder(database.parent)
