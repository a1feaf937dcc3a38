"""Make a data folder of a backup; knows nothing of servers, but keeps them out meanwhile."""

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from diptych.adapters.backup_folder import BackupFolder, digest_of
from diptych.adapters.data_lock import LOCK_FILE, DataLock
from diptych.adapters.folders import disk_errors_translated, require_apart
from diptych.adapters.image_tree import ImageTree
from diptych.adapters.private_files import make_new
from diptych.adapters.sqlite_snapshot import SqliteSnapshot
from diptych.adapters.sqlite_store import DATABASE
from diptych.bundle.durable import fsync_file, fsync_folder, write_durably
from diptych.core.backup import Outcomes, Report
from diptych.errors import CorruptStore, DiptychError, StoreError

UNFINISHED = ".tmp-restore"  # in a folder that was empty, until all is there
UNFINISHED_DATABASE = ".tmp-restore.sqlite3"
IMAGES = "images"
WORK = "the restore"


def refuse_unfinished(data_dir: Path) -> None:
    """Raises StoreError for a folder in which a restore was broken off: served, it would look empty."""
    if (data_dir / UNFINISHED).exists():
        raise StoreError(f"data folder {data_dir} holds an unfinished restore: repeat `diptych restore`")


class RestoreTarget:
    """Satisfies `diptych.core.restore.RestoreTarget`; owns the lock of the data folder while it is open.

    The folder itself is filled, not one beside it that is renamed: a data folder is often a volume of its
    own. Image files come first, each by a rename. The rename of the database is the moment at which all of
    the backup is there; until then a folder that was in use is what it was. Files that the new database does
    not speak of are removed by the next start of the server, as all such files are.
    """

    def __init__(self, folder: Path, backup: BackupFolder, *, replace: bool) -> None:
        """Raises DataDirLocked; StoreError naming what is in the folder, unless that may be replaced."""
        self._folder = folder
        self._backup = backup
        self._images = ImageTree(folder / IMAGES)
        with disk_errors_translated(WORK, folder):
            require_apart(folder, backup.folder)
            if folder.exists() and not folder.is_dir():
                raise StoreError(f"{folder} is a file, not a data folder")
        self._lock = DataLock(folder)
        try:
            with disk_errors_translated(WORK, folder):
                if not replace and not (folder / UNFINISHED).exists():
                    _require_empty(folder)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def begin(self) -> None:
        """Mark a folder without a database as unfinished, so that nobody serves the half of it."""
        with disk_errors_translated(WORK, self._folder):
            if not (self._folder / DATABASE).exists():
                write_durably(self._folder / UNFINISHED, b"")
                fsync_folder(self._folder)

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        """Copy files from the backup, checked and durable; what is here and whole stays."""
        with disk_errors_translated(WORK, self._folder):
            yield from self._images.copy(self._backup.images, sha256s, trusted=False)

    def complete(self, report: Report) -> None:
        """Put the database in its place: from now on this is the data folder."""
        with disk_errors_translated(WORK, self._folder):
            self._images.sync()
            unfinished = self._folder / UNFINISHED_DATABASE
            self._copy_database(unfinished, report)
            _forget_log(self._folder / DATABASE)
            unfinished.replace(self._folder / DATABASE)
            fsync_folder(self._folder)
            (self._folder / UNFINISHED).unlink(missing_ok=True)
            fsync_folder(self._folder)

    def _copy_database(self, unfinished: Path, report: Report) -> None:
        said = self._backup.record.database
        make_new(unfinished)
        shutil.copyfile(self._backup.database, unfinished)
        fsync_file(unfinished)
        report.begin("checking the database", said.n_bytes)
        if digest_of(unfinished, report) != said.sha256:
            raise CorruptStore(f"{self._backup.database} changed while it was restored")


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
