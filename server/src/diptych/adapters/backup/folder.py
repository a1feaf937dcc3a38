"""A backup folder: its record, a copy of the database, image files by their sha256, and model versions."""

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from json import dumps
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from diptych.adapters.files.data_lock import LOCK_FILE
from diptych.adapters.files.image_tree import ImageTree
from diptych.adapters.files.kept_bundles import FOLDER as BUNDLES
from diptych.adapters.files.kept_bundles import N_DIGITS, KeptBundles
from diptych.adapters.files.private_files import make_new
from diptych.adapters.sqlite.schema import VERSION, require_known
from diptych.adapters.sqlite.snapshot import SqliteSnapshot
from diptych.bundle.checksums import check_files
from diptych.bundle.manifest import read_manifest
from diptych.core.backup import BackupRecord, Fault, Outcome, Outcomes, Report
from diptych.durable import fsync_folder, write_durably
from diptych.errors import BundleError, CorruptBundle, CorruptStore, DataDirLocked, StoreError

RECORD_FILE = "backup.json"
FORMAT = 1
IMAGES = "images"
DATABASE_PREFIX = "database-"
CHUNK_BYTES = 1 << 24
N_NAMED = 3  # files and images that a message names at most
DAMAGED_FILES_ADVICE = (
    "remove the damaged files and repeat `diptych backup`, if the data folder still exists; "
    "`diptych restore --without-damaged` restores everything else"
)
BUNDLE_ADVICE = (
    "remove its folder and repeat `diptych backup`, if the data folder still exists; "
    "`diptych restore --without-damaged` restores everything else"
)
DATABASE_ADVICE = "without it nothing can be restored: repeat `diptych backup`, or take another backup"


@dataclass(frozen=True)
class _RecordFile:
    format: int
    backup: BackupRecord


_READER = TypeAdapter(_RecordFile)


class BackupFolder:
    """A complete backup, locked against changes while it is open."""

    def __init__(self, folder: Path) -> None:
        """Open a backup.

        Raises StoreError if there is no complete one or its schema is unknown, DataDirLocked while it is
        being made.
        """
        self.folder = folder
        self.images = ImageTree(folder / IMAGES)
        self._bundles = KeptBundles(folder / BUNDLES)
        self._lock = _shared_lock(folder)
        try:
            record = read_record(folder)
            if record is None:
                raise StoreError(f"{folder} holds no complete backup: it has no {RECORD_FILE}")
            require_known(record.schema_version)
        except BaseException:
            self.close()
            raise
        self.record = record

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            os.close(self._lock)

    @property
    def database(self) -> Path:
        """The path of the copied database."""
        return self.folder / self.record.database.name

    def check_database(self, report: Report) -> None:
        """Compare the database with its sha256. Raises CorruptStore."""
        recorded = self.record.database
        try:
            report.begin("checking the database", self.database.stat().st_size)
            found = digest_of(self.database, report)
        except OSError as error:
            raise CorruptStore(
                f"{self.database} cannot be read: {error.strerror}; {DATABASE_ADVICE}"
            ) from error
        if found != recorded.sha256:
            raise CorruptStore(
                f"{self.database} is damaged: its sha256 is {found}, not {recorded.sha256}; {DATABASE_ADVICE}"
            )

    def snapshot(self) -> SqliteSnapshot:
        """Open the copied database."""
        return SqliteSnapshot(self.database)

    def bundle(self, sha256: str, report: Report) -> Path:
        """The folder of a model version, once all its bytes were compared with their sha256.

        Raises CorruptStore.
        """
        folder = self._bundles.folder(sha256)
        try:
            if folder is None:
                raise CorruptBundle("it is not there, or incomplete")
            check_files(folder, read_manifest(folder).files)
        except BundleError as error:
            named = f"the model version {sha256[:N_DIGITS]} of the backup"
            raise CorruptStore(f"{named} is bad: {error.message}; {BUNDLE_ADVICE}") from error
        report.advance()
        return folder

    def require_files(self, faults: Mapping[str, Fault], snapshot: SqliteSnapshot) -> None:
        """Raises CorruptStore naming the first bad files, except those that were lost before the backup."""
        new = {sha256: fault for sha256, fault in faults.items() if sha256 not in self.record.lost}
        if not new:
            return
        named = []
        for sha256, fault in islice(new.items(), N_NAMED):
            users = [f"{one.collection}/{one.id}" for one in snapshot.lost_images({sha256: fault})]
            named.append(f"{self.images.path(sha256)} is {fault} ({_first(users)})")
        more = [f"and {len(new) - N_NAMED} more"] if len(new) > N_NAMED else []
        raise CorruptStore(
            f"{len(new)} of {self.record.counts.n_files} image files of the backup are bad: "
            f"{', '.join(named + more)}; {DAMAGED_FILES_ADVICE}"
        )


def verify(folder: Path, report: Report) -> Outcome:
    """Check every byte of a backup. Raises CorruptStore naming what is damaged; StoreError; DataDirLocked."""
    with closing(BackupFolder(folder)) as backup:
        backup.check_database(report)
        with backup.snapshot() as snapshot:
            report.begin("checking images", backup.record.counts.n_files)
            faults = faults_of(backup.images.check(snapshot.files()), report)
            backup.require_files(faults, snapshot)
            report.begin("checking models", len(backup.record.bundles))
            for sha256 in backup.record.bundles:
                backup.bundle(sha256, report)
            return Outcome(backup.record, snapshot.lost_images(faults), snapshot.damaged_images())


def faults_of(outcomes: Outcomes, report: Report) -> dict[str, Fault]:
    """The files that are missing or damaged, by sha256."""
    faults: dict[str, Fault] = {}
    for sha256, fault in outcomes:
        report.advance()
        if fault is not None:
            faults[sha256] = fault
    return faults


def read_record(folder: Path) -> BackupRecord | None:
    """The record of a complete backup; None without one.

    Raises CorruptStore; StoreError for a newer format.
    """
    try:
        content = (folder / RECORD_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{folder / RECORD_FILE} cannot be read: {error.strerror}") from error
    try:
        read = _READER.validate_json(content)
    except ValidationError as error:
        raise CorruptStore(f"{folder / RECORD_FILE} is not a record of a backup") from error
    for what, found, known in (
        ("backup format", read.format, FORMAT),
        ("schema", read.backup.schema_version, VERSION),
    ):
        if found > known:
            raise StoreError(f"{folder} has {what} {found}, this version of diptych knows up to {known}")
    return read.backup


def write_record(folder: Path, record: BackupRecord) -> None:
    """Write the record durably by one rename, before which the old backup is valid and after which the new
    one.
    """
    unfinished = folder / f".tmp-{RECORD_FILE}"
    make_new(unfinished)
    write_durably(unfinished, dumps(asdict(_RecordFile(FORMAT, record)), indent=1).encode() + b"\n")
    unfinished.replace(folder / RECORD_FILE)
    fsync_folder(folder)


def digest_of(file: Path, report: Report) -> str:
    """The sha256 of a large file, read in chunks; the report advances by the bytes of each."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
            report.advance(len(chunk))
    return digest.hexdigest()


def _first(names: Sequence[str]) -> str:
    more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {more} more" if more > 0 else "")


def _shared_lock(folder: Path) -> int | None:
    """Take a shared lock: several processes may read a backup at once, also from a read-only disk."""
    descriptor = None
    with suppress(FileNotFoundError, NotADirectoryError):  # a copy of a backup may lack the lock file
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataDirLocked(f"a backup is being made in {folder}") from error
    return descriptor


def require_apart(one: Path, other: Path) -> None:
    """Raises StoreError if one folder is inside the other, or both are the same."""
    first, second = one.resolve(), other.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise StoreError(f"{one} and {other} must be separate folders, but one is inside the other")
