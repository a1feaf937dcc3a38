"""What a scan has to do: a comparison of the files that are known with those that are there."""

import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from diptych.core.libraries.ports import LibraryFile, Listing, Path, Stamp
from diptych.errors import LibraryAway

MANY = 10  # pictures, of which more than half do not go without somebody's word
SETTLE_NS = 2_000_000_000  # a file that was modified so recently may still be being written
ANOTHER_DISK = "another disk is in the place of the one that had this file"


@dataclass(frozen=True)
class Plan:
    """`new` and `changed` files are to be read, `sizes` are their bytes. Those `on_other_disk` are the same
    on a file system of another number; `gone` are not there any more.

    `problems`: what is left alone, and why; the scan adds files that it could not read. `n_unsettled`: files
    that may still be being written. `away`: file systems whose files are left alone.
    """

    new: list[Path]
    changed: list[Path]
    on_other_disk: list[LibraryFile]
    gone: list[Path]
    problems: dict[Path, str]
    sizes: dict[Path, int]
    n_unsettled: int
    away: frozenset[str] = frozenset()

    @property
    def n_to_read(self) -> int:
        """The number of files to read."""
        return len(self.new) + len(self.changed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.new or self.changed or self.on_other_disk or self.gone)

    def without_problems(self) -> "Plan":
        """This plan, but for files that could not be read."""
        new, changed = (
            [path for path in paths if path not in self.problems] for paths in (self.new, self.changed)
        )
        return replace(self, new=new, changed=changed)


def plan_scan(
    known: Mapping[Path, LibraryFile],
    listing: Listing,
    now_ns: int,
    *,
    asked: bool = False,
    again: Container[Path] = (),
) -> Plan:
    """Compare. If somebody `asked` for it, files that were no pictures are read again, and no disk counts as
    away: what is gone is gone. Files to be read `again` are, whatever their state.
    """
    away = frozenset() if asked else _away(known, listing)
    problems = {**listing.left_out, **listing.unread, **_places_of(away, known)}
    plan = Plan([], [], [], [], problems, {}, 0, away)
    n_unsettled = 0
    for path, stamp in listing.files.items():
        before = known.get(path)
        if before is not None and before.stamp.device in away:
            plan.problems[path] = ANOTHER_DISK
        elif (
            before is not None
            and is_same(before, stamp)
            and not ((asked and before.problem) or path in again)
        ):
            if before.stamp != stamp:
                plan.on_other_disk.append(replace(before, stamp=stamp))
        elif not is_settled(stamp, now_ns):
            n_unsettled += 1
        else:
            (plan.new if before is None else plan.changed).append(path)
            plan.sizes[path] = stamp.n_bytes
    plan.gone.extend(
        path
        for path, file in known.items()
        if file.missing_since is None
        and path not in listing.files
        and file.stamp.device not in away
        and not is_in(path, listing.unread)
    )
    return replace(plan, n_unsettled=n_unsettled)


def check_lost(name: str, known: Mapping[Path, LibraryFile], listing: Listing, plan: Plan) -> None:
    """Raise LibraryAway if all pictures of the library of this name are away, or most would be missing: its
    disk may not be mounted, or another folder may be in the place of theirs.

    A file counts as moved if one of its size and time has come.
    """
    devices = Counter(one.stamp.device for one in known.values() if one.missing_since is None)
    if plan.away and plan.away == devices.keys():
        raise LibraryAway(
            f"none of its {devices.total():,} files is there: its disk may not be mounted, or another one "
            f"is. {_unless_said(name)}"
        )
    there = {path: one for path, one in known.items() if one.missing_since is None and one.sha256}
    stay = {one.sha256 for path, one in there.items() if path in listing.files}
    gone = [there[path].stamp for path in plan.gone if path in there and there[path].sha256 not in stay]
    came = [stamp for path, stamp in listing.files.items() if path not in there]
    n_lost = (Counter(map(_size_and_time, gone)) - Counter(map(_size_and_time, came))).total()
    if len(there) >= MANY and 2 * n_lost > len(there):
        raise LibraryAway(
            f"{n_lost:,} of its {len(there):,} files are gone: another folder may be in the place of the one "
            f"that had them. {_unless_said(name)}"
        )


def _unless_said(name: str) -> str:
    return (
        "Nothing is changed until they are back. If they are gone for good, or left out on purpose, say so: "
        f"diptych libraries scan {name}, or POST /libraries/{name}/scan"
    )


def _size_and_time(stamp: Stamp) -> tuple[int, int]:
    return stamp.n_bytes, stamp.modified_ns


def is_same(file: LibraryFile, stamp: Stamp) -> bool:
    """Whether it is there as it was, and need not be read again."""
    is_there = file.missing_since is None or file.problem != ""
    return is_there and _size_and_time(file.stamp) == _size_and_time(stamp)


def _away(known: Mapping[Path, LibraryFile], listing: Listing) -> frozenset[str]:
    """The file systems that are away: nothing is on them any more, and fewer than half of their files are
    there on another one. A disk may get another number, or its files may have been copied to another disk.

    If all are, what is there is of another disk, or the place of one.
    """
    here = {stamp.device for stamp in listing.files.values()}
    there = [(path, one) for path, one in known.items() if one.missing_since is None]
    n_files = Counter(one.stamp.device for _, one in there)
    n_same = Counter(
        one.stamp.device
        for path, one in there
        if (now := listing.files.get(path)) is not None and now.n_bytes == one.stamp.n_bytes
    )
    return frozenset(device for device, n in n_files.items() if device not in here and 2 * n_same[device] < n)


def _places_of(away: Iterable[str], known: Mapping[Path, LibraryFile]) -> dict[Path, str]:
    """The folder that each disk which is away was mounted in, or that has all its files, and what to know."""
    found = dict[Path, str]()
    for device in away:
        paths = [path for path, one in known.items() if one.stamp.device == device]
        folder = os.path.commonpath([path.rpartition(b"/")[0] for path in paths]) or b"."
        n = sum(known[path].missing_since is None for path in paths)
        found[folder] = (
            f"the disk that was here is away: what it had (files: {n:,}) is left as it is until it is back, "
            "or until somebody asks for a scan"
        )
    return found


def is_settled(stamp: Stamp, now_ns: int) -> bool:
    """Whether a file was not modified so recently that it may still be being written."""
    return not now_ns - SETTLE_NS < stamp.modified_ns <= now_ns


def is_in(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path is one of these folders, or in one of them."""
    if not folders:
        return False
    parts = path.split(b"/")
    return any(b"/".join(parts[:n]) in folders for n in range(1, len(parts) + 1))
