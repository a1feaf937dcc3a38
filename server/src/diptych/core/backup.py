"""Copy a data folder while it is served; knows nothing of SQL, and of files only their names."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from diptych.errors import StoreError

PREFIXES = tuple(f"{number:02x}" for number in range(256))  # of sha256: a 256th of the files at a time
MAX_SNAPSHOTS = 20

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
class DamagedImage:
    """An image that is not in the database as it was written: its row, or one of its vectors."""

    collection: str
    id: str
    what: Literal["row", "vector"]


@dataclass(frozen=True)
class BackupRecord:
    """What a complete backup says of itself. `lost` are files that the data folder had lost or damaged, and
    `damaged` the images that were damaged in its database: both are so in the backup.

    `origin` is the same for all backups of one data folder, and of what is restored from them.
    """

    created_at: str  # ISO 8601, UTC
    diptych_version: str
    schema_version: int
    origin: str
    database: DatabaseFile
    counts: Counts
    lost: dict[str, Fault]
    damaged: tuple[DamagedImage, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the data folder was."""
        return not self.lost and not self.damaged


@dataclass(frozen=True)
class LostImage:
    """An image whose row is there and whose file is not, or is damaged."""

    collection: str
    id: str
    sha256: str
    fault: Fault


@dataclass(frozen=True)
class Outcome:
    """What became of a backup or a restore. `mended`: sha256 of files that the backup had damaged."""

    record: BackupRecord
    lost_images: tuple[LostImage, ...]
    mended: tuple[str, ...] = ()


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

    def images_of(self, sha256s: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """(collection, id, sha256) of its images whose file is one of these."""
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


class BackupTarget(Protocol[Snapshot_contra]):
    """Where a backup is made. Raises StoreError when it cannot be written."""

    def n_files(self) -> int:
        """How many image files are here already."""
        ...

    def check(self, prefix: str) -> Outcomes:
        """Read those whose sha256 begin so. Damaged ones are lacking from now on, until they are copied."""
        ...

    def mended(self) -> list[str]:
        """Those that `check` found damaged, and that were copied anew since."""
        ...

    def lacking(self, files: dict[str, int], prefix: str) -> list[str]:
        """Those of the files, whose sha256 begin so, that are not here with all their bytes."""
        ...

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        """Copy files from the data folder, checked and durable."""
        ...

    def complete(self, snapshot: Snapshot_contra, lost: dict[str, Fault], report: Report) -> BackupRecord:
        """Add the database, then say that all is here; what an earlier backup alone used is removed."""
        ...


def back_up(
    source: ServedFolder[SnapshotT],
    target: BackupTarget[SnapshotT],
    report: Report,
    *,
    sizes_only: bool = False,
) -> Outcome:
    """All that is in `source` when the last snapshot is taken, as a complete backup in `target`.

    What an earlier backup left in `target` is read, and copied anew if it is damaged, unless `sizes_only`.

    A server makes a file before its row and removes a row before its file. So a file that a snapshot speaks
    of and that is not there was deleted since, and a newer snapshot does without it; if its row outlived it,
    the data folder has lost it. Most bytes are copied ahead of the snapshot, as the write-ahead log cannot
    be cut while one is open.
    """
    if not sizes_only:
        _check_earlier(target, report)
    _copy_ahead(source, target, report)
    for _ in range(MAX_SNAPSHOTS):
        with source.snapshot() as snapshot:
            faults = {sha256: fault for sha256, fault in target.copy(_lacking(snapshot, target)) if fault}
            if all(fault == "damaged" or snapshot.outlived(sha256) for sha256, fault in faults.items()):
                lost = lost_images(snapshot, faults)
                record = target.complete(snapshot, faults, report)
                return Outcome(record, lost, tuple(target.mended()))
    raise StoreError(
        f"{MAX_SNAPSHOTS} times in a row images were deleted before they could be copied: "
        "back up again, what has been copied is not copied twice"
    )


def _check_earlier(target: BackupTarget[SnapshotT], report: Report) -> None:
    """Whatever is there, since it may come to be used again while the backup is made."""
    n_files = target.n_files()
    if n_files:
        report.begin("checking images of the earlier backup", n_files)
    for prefix in PREFIXES:
        for _ in target.check(prefix):
            report.advance()


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


def lost_images(snapshot: Snapshot, faults: Mapping[str, Fault]) -> tuple[LostImage, ...]:
    """The images of these files."""
    return tuple(
        LostImage(collection, id, sha256, faults[sha256])
        for collection, id, sha256 in snapshot.images_of(faults.keys())
    )
