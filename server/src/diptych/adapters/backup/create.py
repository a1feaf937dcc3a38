"""Backs up a data folder, also while a server uses it. A backup folder is updated in place."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from diptych import __version__
from diptych.adapters.backup.data_folder import DataFolder
from diptych.adapters.backup.folder import (
    DATABASE_PREFIX,
    IMAGES,
    RECORD_FILE,
    digest_of,
    faults_of,
    read_record,
    require_apart,
    write_record,
)
from diptych.adapters.files.data_lock import LOCK_FILE, DataLock
from diptych.adapters.files.disk_errors import disk_errors_translated
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.files.kept_bundles import FOLDER as BUNDLES
from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.core.backup import BackupRecord, DatabaseFile, Fault, Outcome, Report
from diptych.durable import fsync_file
from diptych.errors import BundleError, CorruptStore, StoreError

MAX_COPIES = 20
UNFINISHED_DATABASE = ".tmp-database"


def back_up(data_dir: Path, folder: Path, report: Report) -> Outcome:
    """Copy the database, then the image files that the copy refers to and the backup folder lacks.

    Model versions that the data folder keeps are copied as well.

    The database of an earlier backup in the folder stays until the new record replaces the old one. After
    that only the files that the earlier backup alone used are removed. Image files never change, so a file of
    the right size is not copied again. If a file and its row have disappeared, the image was deleted or
    replaced meanwhile, and the database is copied again.

    Raises StoreError for a folder with other contents; CorruptStore; DataDirLocked.
    """
    source = DataFolder(data_dir)
    with source.snapshot() as snapshot:
        origin = snapshot.origin()
    with disk_errors_translated("the backup", folder):
        require_apart(folder, data_dir)
        _require_ours(folder)
        with closing(DataLock(folder, "backup folder")):
            _require_origin(folder, origin)
            for _ in range(MAX_COPIES):
                done = _copy(source, folder, report)
                if done is not None:
                    return done
    raise StoreError(
        f"{MAX_COPIES} times in a row images were deleted before they could be copied: "
        "back up again; what has been copied is not copied twice"
    )


def _copy(source: DataFolder, folder: Path, report: Report) -> Outcome | None:
    """Make one copy; None if an image was deleted before its file was copied."""
    unfinished, images = folder / UNFINISHED_DATABASE, ImageTree(folder / IMAGES)
    report.begin("copying the database", 1)
    with source.snapshot() as snapshot:  # kept open briefly, because SQLite cannot truncate its log meanwhile
        snapshot.copy_to(unfinished)
    with SqliteSnapshot(unfinished) as copy:
        report.begin("copying images", copy.counts().n_files)
        faults = faults_of(images.copy(source.images, copy.files(), trusted=True), report)
        with source.snapshot() as newest:
            missing = [sha256 for sha256, fault in faults.items() if fault == "missing"]
            if any(copy.keys_of(sha256).isdisjoint(newest.keys_of(sha256)) for sha256 in missing):
                return None
        database = _name_database(unfinished, report)
        images.sync()
        record = _record(copy, database, faults, _copy_bundles(source.bundles, folder, report))
        write_record(folder, record)
        _remove_unused(folder, record, copy)
        return Outcome(record, copy.lost_images(faults))


def _name_database(unfinished: Path, report: Report) -> DatabaseFile:
    """Make the copy durable and rename it after its sha256."""
    fsync_file(unfinished)
    n_bytes = unfinished.stat().st_size
    report.begin("checking the database", n_bytes)
    sha256 = digest_of(unfinished, report)
    name = f"{DATABASE_PREFIX}{sha256[:16]}.sqlite3"
    unfinished.replace(unfinished.with_name(name))
    return DatabaseFile(name, n_bytes, sha256)


def _copy_bundles(source: KeptBundles, folder: Path, report: Report) -> tuple[str, ...]:
    """Copy the model versions that the data folder keeps; return the sha256 of their manifests.

    One that is removed meanwhile is needed no more.
    """
    copies, there = KeptBundles(folder / BUNDLES), source.bundles()
    report.begin("copying models", len(there))
    for sha256 in there:
        kept = source.folder(sha256)
        try:
            if kept is not None and copies.folder(sha256) is None:
                copies.add(sha256, kept)
            elif kept is not None:
                copies.add_calibration(sha256, source.calibration(sha256))
        except (FileNotFoundError, BundleError):
            if source.folder(sha256) is not None:
                raise
        report.advance()
    return tuple(sha256 for sha256 in there if copies.folder(sha256) is not None)


def _record(
    copy: SqliteSnapshot, database: DatabaseFile, lost: dict[str, Fault], bundles: tuple[str, ...]
) -> BackupRecord:
    return BackupRecord(
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        diptych_version=__version__,
        schema_version=copy.schema_version,
        origin=copy.origin(),
        database=database,
        counts=copy.counts(),
        lost=lost,
        bundles=bundles,
    )


def _remove_unused(folder: Path, record: BackupRecord, copy: SqliteSnapshot) -> None:
    for path in folder.glob(f"{DATABASE_PREFIX}*"):
        if path.name != record.database.name:
            path.unlink()
    for path in ImageTree(folder / IMAGES).paths():
        if not copy.keys_of(path.name):
            path.unlink()
    KeptBundles(folder / BUNDLES).retain(record.bundles)


def _require_ours(folder: Path) -> None:
    """Raises StoreError unless the folder is missing, empty, or holds only a backup, complete or not."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, not a folder for a backup")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    marks = {LOCK_FILE, RECORD_FILE}
    ours = marks | {"lost+found"}  # the last is in the root of a disk
    ours |= {IMAGES, BUNDLES} if names & marks else set()
    for name in sorted(names - ours):
        if not name.startswith((DATABASE_PREFIX, ".tmp-")):
            raise StoreError(f"{folder} is not empty and holds no backup: it contains {name}")


def _require_origin(folder: Path, origin: str) -> None:
    try:
        earlier = read_record(folder)
    except CorruptStore as error:
        raise CorruptStore(
            f"{error}: remove it to have it made again; existing image files are kept"
        ) from error
    if earlier is not None and earlier.origin != origin:
        raise StoreError(
            f"{folder} holds the backup of another data folder, of {earlier.counts.n_images} images, "
            f"made {earlier.created_at}: choose another folder"
        )
