"""The order of a backup, against a data folder that changes at the worst moments."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from diptych.core.backup import (
    MAX_SNAPSHOTS,
    BackupRecord,
    Counts,
    DatabaseFile,
    Fault,
    LostImage,
    Outcomes,
    Report,
    back_up,
)
from diptych.core.restore import restore, verify
from diptych.errors import CorruptStore, StoreError

A, B, C = ("aa" * 32, "bb" * 32, "cc" * 32)


class Silent:
    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}

    def begin(self, work: str, n_steps: int) -> None:
        self.steps[work] = [n_steps, 0]

    def advance(self, n_steps: int = 1) -> None:
        self.steps[list(self.steps)[-1]][1] += n_steps


class FakeSnapshot:
    def __init__(self, folder: "FakeFolder") -> None:
        self.rows, self._folder = dict(folder.rows), folder

    def counts(self) -> Counts:
        return Counts(1, len(self.rows), len(set(self.rows.values())), 0)

    def files(self, prefix: str) -> dict[str, int]:
        return {sha256: 1 for sha256 in self.rows.values() if sha256.startswith(prefix)}

    def images_of(self, sha256s: Collection[str]) -> Iterator[tuple[str, str, str]]:
        return (("pets", key, sha256) for key, sha256 in self.rows.items() if sha256 in sha256s)

    def outlived(self, sha256: str) -> bool:
        return any(self._folder.rows.get(key) == sha256 for key, own in self.rows.items() if own == sha256)


class FakeFolder:
    """Rows by key, and the files there are; `on_snapshot` runs after each snapshot is taken."""

    def __init__(self, **rows: str) -> None:
        self.rows, self.files, self.damaged = rows, set(rows.values()), set[str]()
        self.on_snapshot: Callable[[int], None] = lambda n: None
        self.n_snapshots = 0

    @contextmanager
    def snapshot(self) -> Iterator[FakeSnapshot]:
        taken = FakeSnapshot(self)
        self.n_snapshots += 1
        self.on_snapshot(self.n_snapshots)
        yield taken

    def delete(self, key: str) -> None:
        sha256 = self.rows.pop(key)
        if sha256 not in self.rows.values():
            self.files.discard(sha256)


class FakeTarget:
    def __init__(self, source: FakeFolder) -> None:
        self.source, self.files, self.copied = source, set[str](), list[str]()
        self.damaged = set[str]()
        self.rows: dict[str, str] | None = None

    def n_files(self) -> int:
        return len(self.files)

    def check(self, prefix: str) -> Outcomes:
        for sha256 in sorted(one for one in self.files if one.startswith(prefix)):
            yield sha256, "damaged" if sha256 in self.damaged else None

    def mended(self) -> list[str]:
        return []

    def lacking(self, files: dict[str, int], prefix: str) -> list[str]:
        return [sha256 for sha256 in files if sha256 not in self.files - self.damaged]

    def copy(self, sha256s: Iterable[str]) -> Outcomes:
        for sha256 in sha256s:
            fault: Fault | None = None if sha256 in self.source.files else "missing"
            fault = "damaged" if sha256 in self.source.damaged else fault
            if fault is None:
                self.files.add(sha256)
                self.damaged.discard(sha256)
                self.copied.append(sha256)
            yield sha256, fault

    def complete(self, snapshot: FakeSnapshot, lost: dict[str, Fault], report: Report) -> BackupRecord:
        self.rows = snapshot.rows
        return record(snapshot.counts(), lost)


class FakeBackup:
    def __init__(self, folder: FakeFolder, lost: dict[str, Fault] | None = None) -> None:
        self.folder, self.record = folder, record(FakeSnapshot(folder).counts(), lost or {})
        self.database_is_sound = True

    def check_database(self, report: Report) -> None:
        if not self.database_is_sound:
            raise CorruptStore("the database is damaged")

    def snapshot(self) -> AbstractContextManager[FakeSnapshot]:
        return self.folder.snapshot()

    def check(self, files: dict[str, int]) -> Outcomes:
        for sha256 in files:
            yield sha256, None if sha256 in self.folder.files else "missing"


def record(counts: Counts, lost: dict[str, Fault]) -> BackupRecord:
    return BackupRecord("now", "0", 1, "here", DatabaseFile("database", 0, ""), counts, lost)


def after_all_is_copied_ahead(folder: FakeFolder, change: Callable[[int], None]) -> None:
    """`change` runs after the snapshots with which the backup is made: the 1st, the 2nd, ..."""
    ahead = 1 + 256
    folder.on_snapshot = lambda n: change(n - ahead) if n > ahead else None


def test_all_rows_and_files_are_copied_and_each_is_reported_once() -> None:
    folder, report = FakeFolder(one=A, two=B, again=B), Silent()
    target = FakeTarget(folder)
    done = back_up(folder, target, report).record
    assert (done.counts.n_images, done.lost) == (3, {})
    assert target.rows == {"one": A, "two": B, "again": B}
    assert sorted(target.copied) == [A, B]
    assert report.steps["copying images"] == [2, 2]


def test_files_that_are_there_are_not_copied_again() -> None:
    folder = FakeFolder(one=A, two=B)
    target, report = FakeTarget(folder), Silent()
    target.files = {A}
    back_up(folder, target, report)
    assert target.copied == [B]
    assert report.steps["copying images"] == [2, 2]


def test_all_that_is_there_is_read_and_reported_before_anything_is_copied() -> None:
    folder = FakeFolder(one=A, two=B)
    target, report = FakeTarget(folder), Silent()
    target.files, target.damaged = {A, B, C}, {A}
    back_up(folder, target, report)
    assert target.copied == [A]
    assert report.steps["checking images of the earlier backup"] == [3, 3]
    assert next(iter(report.steps)) == "checking images of the earlier backup"


def test_sizes_only_reads_nothing_that_is_there() -> None:
    folder, report = FakeFolder(one=A), Silent()
    back_up(folder, FakeTarget(folder), report, sizes_only=True)
    assert list(report.steps) == ["copying images"]


def test_image_added_after_the_bulk_was_copied_is_in_the_backup_with_its_file() -> None:
    folder = FakeFolder(one=A)

    def add(n: int) -> None:
        if n == 256:  # the last snapshot before the one of the backup
            folder.files.add(B)
            folder.rows["two"] = B

    folder.on_snapshot = add
    target = FakeTarget(folder)
    back_up(folder, target, Silent())
    assert target.rows == {"one": A, "two": B}
    assert target.files == {A, B}


def test_file_deleted_after_a_snapshot_leads_to_a_newer_one_without_it() -> None:
    folder = FakeFolder(one=A)
    target = FakeTarget(folder)
    target.lacking = lambda files, prefix: list(files)
    after_all_is_copied_ahead(folder, lambda n: folder.delete("one") if n == 1 else None)
    done = back_up(folder, target, Silent()).record
    assert (target.rows, done.lost) == ({}, {})


def test_replaced_image_is_in_the_backup_with_its_new_bytes() -> None:
    folder = FakeFolder(old=A)
    target = FakeTarget(folder)
    target.lacking = lambda files, prefix: list(files)

    def replace(n: int) -> None:
        if n == 1:
            folder.files.add(B)
            folder.rows["new"] = B
            folder.delete("old")

    after_all_is_copied_ahead(folder, replace)
    done = back_up(folder, target, Silent()).record
    assert (target.rows, done.lost) == ({"new": B}, {})


def test_file_that_is_missing_although_its_row_is_there_is_lost_and_the_rest_is_saved() -> None:
    folder = FakeFolder(one=A, two=B, three=C)
    folder.files.remove(A)
    folder.damaged.add(B)
    target = FakeTarget(folder)
    done = back_up(folder, target, Silent())
    assert done.record.lost == {A: "missing", B: "damaged"}
    assert done.lost_images == (
        LostImage("pets", "one", A, "missing"),
        LostImage("pets", "two", B, "damaged"),
    )
    assert (len(target.rows or {}), target.files) == (3, {C})


def test_deleting_faster_than_copying_ends_the_backup_after_so_many_snapshots() -> None:
    folder = FakeFolder()
    target = FakeTarget(folder)

    def change(n: int) -> None:
        folder.rows = {f"{n}": A}  # is in the next snapshot, and replaced by another row right after it

    after_all_is_copied_ahead(folder, change)
    with pytest.raises(StoreError, match=f"{MAX_SNAPSHOTS} times in a row"):
        folder.rows = {"0": A}
        back_up(folder, target, Silent())
    assert target.rows is None


def test_verify_names_bad_files_but_not_those_that_were_lost_before() -> None:
    folder = FakeFolder(one=A, two=B, three=C)
    folder.files -= {A, B}
    with pytest.raises(CorruptStore, match=f"1 of 3 image files of the backup are bad: {B} is missing"):
        verify(FakeBackup(folder, lost={A: "missing"}), Silent())


def test_nothing_is_restored_of_a_backup_that_is_not_sound() -> None:
    class Untouched:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was called")

    backup = FakeBackup(FakeFolder(one=A))
    backup.database_is_sound = False
    with pytest.raises(CorruptStore):
        restore(backup, Untouched(), Silent())
