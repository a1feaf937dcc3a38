"""Check a backup to its last byte, and make a data folder of it; knows nothing of SQL or of files."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from diptych.core.backup import (
    PREFIXES,
    BackupRecord,
    Fault,
    Outcome,
    Outcomes,
    Report,
    Snapshot,
    lost_images,
)
from diptych.errors import CorruptStore

N_NAMED = 3  # faults that a message names
WAY_OUT = (
    "repeat `diptych backup`, which copies bad ones anew, while their data folder is there; "
    "--without-damaged restores all else"
)


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


def verify(backup: Backup, report: Report) -> None:
    """Read every byte. Raises CorruptStore for a database that is not as recorded, or naming bad files."""
    backup.check_database(report)
    report.begin("checking images", backup.record.counts.n_files)
    faults: dict[str, Fault] = {}
    with backup.snapshot() as snapshot:
        for prefix in PREFIXES:
            for sha256, fault in backup.check(snapshot.files(prefix)):
                report.advance()
                if fault is not None and sha256 not in backup.record.lost:
                    faults[sha256] = fault
        if faults:
            raise _bad_files(faults, backup.record.counts.n_files, snapshot)


def restore(
    backup: Backup, target: RestoreTarget, report: Report, *, without_damaged: bool = False
) -> Outcome:
    """Make `target` a data folder with what is in `backup`. Raises CorruptStore.

    That is verified first, all of it, or `without_damaged` its database; images whose file is bad are then
    restored without it: their rows, metadata and vectors are there.
    """
    if without_damaged:
        backup.check_database(report)
    else:
        verify(backup, report)
    target.begin()
    report.begin("restoring images", backup.record.counts.n_files)
    faults: dict[str, Fault] = {}
    with backup.snapshot() as snapshot:
        for prefix in PREFIXES:
            for sha256, fault in target.copy(snapshot.files(prefix)):
                report.advance()
                if fault is None:
                    continue
                if sha256 not in backup.record.lost and not without_damaged:  # it was whole a moment ago
                    raise CorruptStore(f"image file {sha256} of the backup is {fault}")
                faults[sha256] = fault
        lost = lost_images(snapshot, faults)
    target.complete(report)
    return Outcome(backup.record, lost)


def _bad_files(faults: Mapping[str, Fault], n_files: int, snapshot: Snapshot) -> CorruptStore:
    first = list(faults)[:N_NAMED]
    users = dict[str, list[str]]()
    for collection, id, sha256 in snapshot.images_of(first):
        users.setdefault(sha256, []).append(f"{collection}/{id}")
    named = [f"{sha256} is {faults[sha256]} ({_some(users[sha256])})" for sha256 in first]
    more = len(faults) - len(first)
    said = ", ".join([*named, f"and {more} more"] if more else named)
    return CorruptStore(f"{len(faults)} of {n_files} image files of the backup are bad: {said}; {WAY_OUT}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {more} more" if more > 0 else "")
