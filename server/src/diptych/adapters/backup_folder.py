"""A folder that holds a backup: its record, a copy of the database, and image files by their sha256."""

import fcntl
import hashlib
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from diptych.adapters.data_lock import LOCK_FILE
from diptych.adapters.image_tree import ImageTree
from diptych.adapters.private_files import make_new
from diptych.adapters.sqlite_schema import MIGRATIONS
from diptych.adapters.sqlite_snapshot import SqliteSnapshot
from diptych.bundle.durable import fsync_folder, write_durably
from diptych.core.backup import BackupRecord, Outcomes, Report
from diptych.errors import CorruptStore, DataDirLocked, StoreError

RECORD_FILE = "backup.json"
FORMAT = 1
IMAGES = "images"
DATABASE_PREFIX = "database-"
CHUNK_BYTES = 1 << 24
NO_DATABASE = "without it nothing can be restored: repeat `diptych backup`, or take another backup"


@dataclass(frozen=True)
class _RecordFile:
    format: int
    backup: BackupRecord


_READER = TypeAdapter(_RecordFile)


class BackupFolder:
    """A complete backup, kept from being changed while this is open; satisfies `core.restore.Backup`."""

    def __init__(self, folder: Path) -> None:
        """Raises StoreError when there is no complete backup, DataDirLocked while one is being made in it."""
        self.folder = folder
        self.images = ImageTree(folder / IMAGES)
        self._lock = _shared_lock(folder)
        try:
            record = read_record(folder)
            if record is None:
                raise StoreError(f"{folder} holds no complete backup: it has no {RECORD_FILE}")
        except BaseException:
            self.close()
            raise
        self.record = record

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)

    @property
    def database(self) -> Path:
        """The copy of the database."""
        return self.folder / self.record.database.name

    def check_database(self, report: Report) -> None:
        """Read all of it. Raises CorruptStore."""
        said = self.record.database
        try:
            report.begin("checking the database", self.database.stat().st_size)
            found = digest_of(self.database, report)
        except OSError as error:
            raise CorruptStore(f"{self.database} cannot be read: {error.strerror}; {NO_DATABASE}") from error
        if found != said.sha256:
            raise CorruptStore(
                f"{self.database} is damaged: its sha256 is {found}, not {said.sha256}; {NO_DATABASE}"
            )

    def snapshot(self) -> SqliteSnapshot:
        """Its database."""
        return SqliteSnapshot(self.database)

    def check(self, files: dict[str, int]) -> Outcomes:
        """Read the files."""
        return self.images.check(files)


def read_record(folder: Path) -> BackupRecord | None:
    """The record of a complete backup, None without one. Raises CorruptStore; StoreError for a newer one."""
    try:
        content = (folder / RECORD_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{folder / RECORD_FILE} cannot be read: {error.strerror}") from error
    try:
        read = _READER.validate_json(content)
    except ValidationError as error:
        raise CorruptStore(f"{folder / RECORD_FILE} is no record of a backup") from error
    for what, found, known in (
        ("backup format", read.format, FORMAT),
        ("schema", read.backup.schema_version, len(MIGRATIONS)),
    ):
        if found > known:
            raise StoreError(f"{folder} has {what} {found}, this version of diptych knows up to {known}")
    return read.backup


def write_record(folder: Path, record: BackupRecord) -> None:
    """Durably, by one rename: before it the old backup is the complete one, and after it the new one."""
    unfinished = folder / f".tmp-{RECORD_FILE}"
    make_new(unfinished)
    write_durably(unfinished, dumps(asdict(_RecordFile(FORMAT, record)), indent=1).encode() + b"\n")
    unfinished.replace(folder / RECORD_FILE)
    fsync_folder(folder)


def digest_of(file: Path, report: Report) -> str:
    """The sha256 of a large file, read in pieces, each of which advances the report by its bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
            report.advance(len(chunk))
    return digest.hexdigest()


def _shared_lock(folder: Path) -> int | None:
    """Several may read a backup at once, from a medium that cannot be written, too."""
    descriptor = None
    with suppress(FileNotFoundError, NotADirectoryError):  # a copy of a backup may lack it
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataDirLocked(f"a backup is being made in {folder}") from error
    return descriptor
