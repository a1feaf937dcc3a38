"""Make a backup in a folder, on top of an earlier one if it holds one; knows nothing of servers."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from diptych import __version__
from diptych.adapters.backup_folder import (
    DATABASE_PREFIX,
    IMAGES,
    RECORD_FILE,
    digest_of,
    read_record,
    write_record,
)
from diptych.adapters.data_folder import DataFolder
from diptych.adapters.data_lock import LOCK_FILE, DataLock
from diptych.adapters.folders import disk_errors_translated, require_apart
from diptych.adapters.image_tree import ImageTree
from diptych.adapters.sqlite_snapshot import SqliteSnapshot
from diptych.bundle.durable import fsync_file
from diptych.core.backup import (
    PREFIXES,
    BackupRecord,
    DamagedImage,
    DatabaseFile,
    Fault,
    Outcomes,
    Report,
)
from diptych.errors import CorruptStore, StoreError

UNFINISHED_DATABASE = ".tmp-database"
WORK = "the backup"


class BackupTarget:
    """Satisfies `diptych.core.backup.BackupTarget`; holds the folder's lock while it is open.

    An earlier backup in the folder stays complete until the new one is: what both have is kept, the new
    database has a name of its own, and what only the earlier one used is removed at the very end.
    """

    def __init__(self, folder: Path, source: DataFolder) -> None:
        """Raises StoreError for a folder with anything else in it, DataDirLocked."""
        with source.snapshot() as snapshot:
            origin = snapshot.origin()
        with disk_errors_translated(WORK, folder):
            require_apart(folder, source.folder)
            _require_ours(folder)
        self._folder = folder
        self._source = source
        self._images = ImageTree(folder / IMAGES)
        self._damaged: set[str] = set()
        self._mended: list[str] = []
        self._lock = DataLock(folder, "backup folder")
        try:
            _require_origin(folder, origin)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def n_files(self) -> int:
        """How many image files are here already."""
        with disk_errors_translated(WORK, self._folder):
            return sum(len(self._images.sizes(prefix)) for prefix in PREFIXES)

    def check(self, prefix: str) -> Outcomes:
        """Read those whose sha256 begin so. Damaged ones are lacking from now on, until they are copied."""
        with disk_errors_translated(WORK, self._folder):
            for sha256, fault in self._images.check(self._images.sizes(prefix)):
                if fault is not None:
                    self._damaged.add(sha256)
                yield sha256, fault

    def mended(self) -> list[str]:
        """Those that `check` found damaged, and that were copied anew since."""
        return sorted(self._mended)

    def lacking(self, files: dict[str, int], prefix: str) -> list[str]:
        """Those of the files, whose sha256 begin so, that are not here with all their bytes."""
        with disk_errors_translated(WORK, self._folder):
            here = self._images.sizes(prefix)
        return [
            sha256
            for sha256, n_bytes in files.items()
            if here.get(sha256) != n_bytes or sha256 in self._damaged
        ]

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        """Copy files from the data folder, checked and durable."""
        with disk_errors_translated(WORK, self._folder):
            for sha256, fault in self._images.copy(self._source.images, sha256s, trusted=True):
                if fault is None and sha256 in self._damaged:
                    self._damaged.remove(sha256)
                    self._mended.append(sha256)
                yield sha256, fault

    def complete(self, snapshot: SqliteSnapshot, lost: dict[str, Fault], report: Report) -> BackupRecord:
        """Add the database, then say that all is here; what an earlier backup alone used is removed."""
        with disk_errors_translated(WORK, self._folder):
            self._images.sync()
            database, damaged = self._take_database(snapshot, report)
            record = BackupRecord(
                created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                diptych_version=__version__,
                schema_version=snapshot.schema_version,
                origin=snapshot.origin(),
                database=database,
                counts=snapshot.counts(),
                lost=lost,
                damaged=damaged,
            )
            write_record(self._folder, record)
            self._tidy(record, snapshot)
        return record

    def _take_database(
        self, snapshot: SqliteSnapshot, report: Report
    ) -> tuple[DatabaseFile, tuple[DamagedImage, ...]]:
        """The copy, and what is damaged inside of it."""
        unfinished = self._folder / UNFINISHED_DATABASE
        snapshot.copy_to(unfinished, report)
        fsync_file(unfinished)
        n_bytes = unfinished.stat().st_size
        report.begin("checking the database", n_bytes)
        sha256 = digest_of(unfinished, report)
        name = f"{DATABASE_PREFIX}{sha256[:16]}.sqlite3"
        with SqliteSnapshot(unfinished) as copy:
            damaged = copy.damaged()
        unfinished.replace(self._folder / name)
        return DatabaseFile(name, n_bytes, sha256), damaged

    def _tidy(self, record: BackupRecord, snapshot: SqliteSnapshot) -> None:
        for path in self._folder.glob(f"{DATABASE_PREFIX}*"):
            if path.name != record.database.name:
                path.unlink()
        for prefix in PREFIXES:
            self._images.keep_only(prefix, snapshot.files(prefix))


def _require_ours(folder: Path) -> None:
    """A folder that is not there, is empty, or holds a backup, complete or begun, and nothing else."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, not a folder for a backup")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    marks = {LOCK_FILE, RECORD_FILE}
    ours = marks | {IMAGES if names & marks else LOCK_FILE, "lost+found"}  # the last is of a disk of its own
    for name in sorted(names - ours):
        if not name.startswith((DATABASE_PREFIX, ".tmp-")):
            raise StoreError(f"{folder} is not empty and holds no backup: there is {name} in it")


def _require_origin(folder: Path, origin: str) -> None:
    try:
        earlier = read_record(folder)
    except CorruptStore as error:
        raise CorruptStore(
            f"{error}: remove it to have it made anew; image files that are there are checked and kept"
        ) from error
    if earlier is not None and earlier.origin != origin:
        raise StoreError(
            f"{folder} holds the backup of another data folder, of {earlier.counts.n_images} images, "
            f"made {earlier.created_at}: choose another folder"
        )
