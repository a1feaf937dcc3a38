"""Copy a data folder while it is served, and back; knows nothing of SQL, and of files only their names."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from diptych.errors import CorruptStore, StoreError

PREFIXES = tuple(f"{number:02x}" for number in range(256))  # of sha256: a 256th of the files at a time
MAX_SNAPSHOTS = 20
N_NAMED = 3  # faults that a message names

Fault = Literal["missing", "damaged"]
Outcomes = Iterator[tuple[str, Fault | None]]  # sha256, and what is wrong with its file


@dataclass(frozen=True)
class Counts:
    """What a state of the database speaks of. Images of equal bytes share a file."""

    n_collections: int
    n_images: int
    n_files: int
    file_bytes: int


@dataclass(frozen=True)
class DatabaseFile:
    """The copy of the database in a backup."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class BackupRecord:
    """What a complete backup says of itself. `lost` are files that the data folder had lost or damaged.

    `origin` is the same for all backups of one data folder, and of what is restored from them.
    """

    created_at: str  # ISO 8601, UTC
    diptych_version: str
    schema_version: int
    origin: str
    database: DatabaseFile
    counts: Counts
    lost: dict[str, Fault]


class Report(Protocol):
    """Shows how far the work is."""

    def begin(self, work: str, n_steps: int) -> None:
        """Something new is begun."""
        ...

    def advance(self, n_steps: int = 1) -> None:
        """So many more steps of it are done."""
        ...


class Snapshot(Protocol):
    """One state of a database, which stays as it is while the server goes on writing."""

    def counts(self) -> Counts:
        """How much there is."""
        ...

    def files(self, prefix: str) -> dict[str, int]:
        """sha256 -> bytes of the image files it speaks of, of the sha256 that begin so."""
        ...

    def outlived(self, sha256: str) -> bool:
        """Whether one of its images with these bytes is in the newest state, too."""
        ...


SnapshotT = TypeVar("SnapshotT", bound=Snapshot)
Snapshot_co = TypeVar("Snapshot_co", bound=Snapshot, covariant=True)
Snapshot_contra = TypeVar("Snapshot_contra", bound=Snapshot, contravariant=True)


class ServedFolder(Protocol[Snapshot_co]):
    """A data folder that may be in use."""

    def snapshot(self) -> AbstractContextManager[Snapshot_co]:
        """The newest state. Raises StoreError, CorruptStore."""
        ...


class Backup(Protocol):
    """A complete backup."""

    record: BackupRecord

    def check_database(self, report: Report) -> None:
        """Read all of it. Raises CorruptStore."""
        ...

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Its database."""
        ...

    def check(self, files: dict[str, int]) -> Outcomes:
        """Read the files."""
        ...


class BackupTarget(Protocol[Snapshot_contra]):
    """Where a backup is made. Raises StoreError when it cannot be written."""

    def lacking(self, files: dict[str, int], prefix: str) -> list[str]:
        """Those of the files, whose sha256 begin so, that are not here yet."""
        ...

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        """Copy files from the data folder, checked and durable."""
        ...

    def complete(self, snapshot: Snapshot_contra, lost: dict[str, Fault], report: Report) -> BackupRecord:
        """Add the database, then say that all is here; what an earlier backup alone used is removed."""
        ...


class RestoreTarget(Protocol):
    """Where a backup is restored. Raises StoreError when it cannot be written."""

    def begin(self) -> None:
        """Mark what is about to be filled as unfinished."""
        ...

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        """Copy files from the backup, checked and durable; what is here and whole stays."""
        ...

    def complete(self, report: Report) -> None:
        """Put the database in its place: from now on this is the data folder."""
        ...


def back_up(source: ServedFolder[SnapshotT], target: BackupTarget[SnapshotT], report: Report) -> BackupRecord:
    """All that is in `source` when the last snapshot is taken, as a complete backup in `target`.

    A server makes a file before its row and removes a row before its file. So a file that a snapshot speaks
    of and that is not there was deleted since, and a newer snapshot does without it; if its row outlived it,
    the data folder has lost it. Most bytes are copied ahead of the snapshot, as the write-ahead log cannot
    be cut while one is open.
    """
    _copy_ahead(source, target, report)
    for _ in range(MAX_SNAPSHOTS):
        with source.snapshot() as snapshot:
            faults = {sha256: fault for sha256, fault in target.copy(_lacking(snapshot, target)) if fault}
            if all(fault == "damaged" or snapshot.outlived(sha256) for sha256, fault in faults.items()):
                return target.complete(snapshot, faults, report)
    raise StoreError(
        f"{MAX_SNAPSHOTS} times in a row images were deleted before they could be copied: "
        "back up again, what has been copied is not copied twice"
    )


def verify(backup: Backup, report: Report) -> None:
    """Read every byte. Raises CorruptStore for a database that is not as recorded, or naming bad files."""
    backup.check_database(report)
    report.begin("checking images", backup.record.counts.n_files)
    faults: list[str] = []
    with backup.snapshot() as snapshot:
        for prefix in PREFIXES:
            for sha256, fault in backup.check(snapshot.files(prefix)):
                report.advance()
                if fault is not None and sha256 not in backup.record.lost:
                    faults.append(f"{sha256} is {fault}")
    if faults:
        n_files = backup.record.counts.n_files
        raise CorruptStore(f"{len(faults)} of {n_files} image files of the backup are bad: {_some(faults)}")


def restore(backup: Backup, target: RestoreTarget, report: Report) -> None:
    """Make `target` a data folder with what is in `backup`, once that is verified. Raises CorruptStore."""
    verify(backup, report)
    target.begin()
    report.begin("restoring images", backup.record.counts.n_files)
    with backup.snapshot() as snapshot:
        for prefix in PREFIXES:
            for sha256, fault in target.copy(snapshot.files(prefix)):
                report.advance()
                if fault is not None and sha256 not in backup.record.lost:
                    raise CorruptStore(f"image file {sha256} of the backup is {fault}")
    target.complete(report)


def _copy_ahead(source: ServedFolder[SnapshotT], target: BackupTarget[SnapshotT], report: Report) -> None:
    """Copy what there is, in no particular state; what is wrong with a file is judged later."""
    with source.snapshot() as snapshot:
        report.begin("copying images", snapshot.counts().n_files)
    for _ in target.copy(_lacking_now(source, target, report)):
        report.advance()


def _lacking_now(
    source: ServedFolder[SnapshotT], target: BackupTarget[SnapshotT], report: Report
) -> Iterator[str]:
    for prefix in PREFIXES:
        with source.snapshot() as snapshot:
            files = snapshot.files(prefix)
        lacking = target.lacking(files, prefix)
        report.advance(len(files) - len(lacking))
        yield from lacking


def _lacking(snapshot: SnapshotT, target: BackupTarget[SnapshotT]) -> Iterator[str]:
    for prefix in PREFIXES:
        yield from target.lacking(snapshot.files(prefix), prefix)


def _some(faults: list[str]) -> str:
    more = len(faults) - N_NAMED
    return ", ".join(faults[:N_NAMED]) + (f", and {more} more" if more > 0 else "")
