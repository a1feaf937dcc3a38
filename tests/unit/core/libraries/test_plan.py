"""What a scan has to do, by what is known and what is there."""

from dataclasses import replace

import pytest

from diptych.core.libraries.plan import ANOTHER_DISK, MANY, SETTLE_NS, check_lost, plan_scan
from diptych.core.libraries.ports import LibraryFile, Listing, Path, Stamp
from diptych.errors import LibraryAway

NOW = 10**18
OLD = NOW - 10**12
SINCE = "2026-03-02T09:00:00.000+00:00"


def stamp(n_bytes: int = 5, modified_ns: int = OLD, device: str = "a") -> Stamp:
    return Stamp(n_bytes, modified_ns, device)


def known(*files: LibraryFile) -> dict[Path, LibraryFile]:
    return {file.path: file for file in files}


def file(path: bytes, device: str = "a", **more: str) -> LibraryFile:
    return LibraryFile(path, stamp(device=device), "0" * 64, **more)


def test_new_changed_and_gone_files_are_told_apart() -> None:
    there = {b"same": stamp(), b"longer": stamp(6), b"later": stamp(modified_ns=OLD + 1), b"new": stamp()}
    files = known(*map(file, (b"same", b"longer", b"later", b"gone")))
    plan = plan_scan(files, Listing(there), NOW)
    assert (plan.new, sorted(plan.changed), plan.gone) == ([b"new"], [b"later", b"longer"], [b"gone"])
    assert plan.sizes == {b"new": 5, b"longer": 6, b"later": 5}
    assert not plan.is_empty
    assert plan_scan(known(file(b"same")), Listing({b"same": stamp()}), NOW).is_empty


@pytest.mark.parametrize(
    ("modified_ns", "waits"),
    [(NOW, True), (NOW - SETTLE_NS + 1, True), (NOW - SETTLE_NS, False), (NOW + 10**15, False)],
)
def test_file_just_modified_waits_unless_its_clock_is_ahead(modified_ns: int, *, waits: bool) -> None:
    plan = plan_scan({}, Listing({b"new": stamp(modified_ns=modified_ns)}), NOW)
    assert (plan.n_unsettled, plan.new) == ((1, []) if waits else (0, [b"new"]))


def test_files_in_folders_that_cannot_be_read_are_left_as_they_are() -> None:
    files = known(file(b"closed/a"), file(b"closed/b/c"), file(b"closed2/a"), file(b"open/a"))
    plan = plan_scan(files, Listing({b"open/a": stamp()}, {b"closed": "Permission denied"}), NOW)
    assert plan.gone == [b"closed2/a"]
    assert plan.problems == {b"closed": "Permission denied"}


def test_missing_file_that_is_back_is_read_even_if_nothing_changed() -> None:
    files = known(file(b"back", missing_since=SINCE), file(b"away", missing_since=SINCE))
    plan = plan_scan(files, Listing({b"back": stamp()}), NOW)
    assert (plan.changed, plan.gone) == ([b"back"], [])


def test_what_was_no_picture_is_read_again_only_when_asked_for() -> None:
    broken = [
        replace(file(b"1", problem="no picture"), sha256=None),
        file(b"2", problem="no picture", missing_since=SINCE),
    ]
    there = Listing({b"1": stamp(), b"2": stamp()})
    assert plan_scan(known(*broken), there, NOW).is_empty
    assert sorted(plan_scan(known(*broken), there, NOW, asked=True).changed) == [b"1", b"2"]


def test_file_of_doubtful_content_is_read_again() -> None:
    files = known(file(b"1"), file(b"2"))
    plan = plan_scan(files, Listing({b"1": stamp(), b"2": stamp()}), NOW, again={b"1"})
    assert (plan.changed, plan.gone, plan.new) == ([b"1"], [], [])


@pytest.mark.parametrize(
    "there",
    [
        {},
        {b"1": stamp(9, device="b"), b"2": stamp(9, device="b"), b"new": stamp(device="b")},
        {b"1": stamp(device="b")},
    ],
    ids=["nothing", "another disk with the same names", "another disk with one of three files"],
)
def test_disk_that_is_away_changes_nothing(there: dict[Path, Stamp]) -> None:
    files = known(file(b"1"), file(b"2"), file(b"3"))
    with pytest.raises(LibraryAway, match=r"none of its 3 files is there.*diptych libraries scan photos"):
        check(files, there)
    plan = plan_scan(files, Listing(there), NOW)
    assert (plan.changed, plan.gone) == ([], [])
    said = plan_scan(files, Listing(there), NOW, asked=True)
    assert {*said.gone} == files.keys() - there.keys()


def test_first_scan_may_find_nothing() -> None:
    assert plan_scan({}, Listing(), NOW).is_empty
    assert plan_scan(known(file(b"1", missing_since=SINCE)), Listing(), NOW).is_empty


def test_disk_with_another_number_is_the_same_if_half_of_its_files_are_there() -> None:
    files = known(file(b"1"), file(b"2"))
    plan = plan_scan(files, Listing({b"1": stamp(device="b")}), NOW)
    assert [one.stamp.device for one in plan.on_other_disk] == ["b"]
    assert (plan.new, plan.changed, plan.gone) == ([], [], [b"2"])


def test_disk_within_the_folder_may_be_away_alone() -> None:
    files = known(file(b"1"), file(b"gone"), file(b"usb/1", "b"), file(b"usb/2", "b"))
    there = Listing({b"1": stamp(), b"usb/1": stamp(9, device="c"), b"usb/new": stamp(device="c")})
    plan = plan_scan(files, there, NOW)
    assert (plan.gone, plan.changed, plan.new) == ([b"gone"], [], [b"usb/new"])
    away = "the disk that was here is away: what it had (files: 2) is left as it is until it is back"
    assert plan.problems.keys() == {b"usb/1", b"usb"} and plan.problems[b"usb/1"] == ANOTHER_DISK
    assert plan.problems[b"usb"].startswith(away)
    plan = plan_scan(files, there, NOW, asked=True)
    assert (sorted(plan.gone), plan.changed, plan.problems) == ([b"gone", b"usb/2"], [b"usb/1"], {})


def check(known: dict[Path, LibraryFile], there: dict[Path, Stamp]) -> None:
    check_lost("photos", known, Listing(there), plan_scan(known, Listing(there), NOW))


def pictures(n: int) -> dict[Path, LibraryFile]:
    """Files with contents, sizes and times of their own."""
    return {
        path: LibraryFile(path, stamp(n + i), f"{i:064}")
        for i, path in enumerate(f"{i}.jpg".encode() for i in range(n))
    }


def stamps(files: dict[Path, LibraryFile], n: int) -> dict[Path, Stamp]:
    """The first `n` of the files as a listing has them."""
    return {path: files[path].stamp for path in sorted(files)[:n]}


def test_most_pictures_do_not_go_without_somebodys_word() -> None:
    files = pictures(MANY)
    half = MANY // 2
    other = {b"other.jpg": stamp(1)}
    check(files, stamps(files, half) | other)
    with pytest.raises(LibraryAway, match=f"{half + 1} of its {MANY} files.*diptych libraries scan photos"):
        check(files, stamps(files, half - 1) | other)
    few = pictures(MANY - 1)
    check(few, stamps(few, 1))


def test_pictures_that_have_moved_or_have_other_files_are_not_lost() -> None:
    files = pictures(MANY)
    check(files, {b"moved/" + path: one.stamp for path, one in files.items()})
    copies = {b"copies/" + path: replace(one, path=b"copies/" + path) for path, one in files.items()}
    more = {b"copies2/" + path: replace(one, path=b"copies2/" + path) for path, one in files.items()}
    check(files | copies | more, stamps(files, MANY))
