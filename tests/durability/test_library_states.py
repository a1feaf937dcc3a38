"""Any sequence of changes of files, scans, kills of scans and restarts: nothing is lost, and nothing is found
that is gone.

After a scan, a search finds each picture of the folder once, but for those that a person has deleted.
Pictures keep their ids and tags when their files move, change, or come back, and have the name of one of
their files and the title of its sidecar. While the disk is away nothing changes.
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from diptych.adapters.files.library_folder import FolderOfLibrary
from diptych.core.collections.stored.ids import sha256_of
from diptych.core.libraries.ports import Content, Listing, Unreadable
from diptych.core.libraries.scan import GRACE, Scanner
from diptych.core.types import ImageRecord
from diptych.errors import LibraryAway
from integration.store_parts import Opened, tiny_png
from support.embedded_captions import xmp_of
from support.tiny_bundle import write_tiny_bundle

C = "photos"
BROKEN = b"no picture"
CONTENTS = st.sampled_from([*map(tiny_png, range(6)), BROKEN])
PATHS = st.sampled_from(["a.png", "b.png", "x/a.png", "x/b.png", "x/y/caf\udce9.png", "z/c.png"])
ENDINGS = st.sampled_from([".xmp", ".png.xmp"])
FOLDERS = st.sampled_from(["x", "x/y", "z"])
ALL = 100


class Killed(Exception):
    """The process is gone."""


class MountedFolder(FolderOfLibrary):
    """A folder in which one disk or another one is mounted."""

    device = "a"

    async def listing(self) -> Listing:
        found = await super().listing()
        return replace(
            found, files={path: replace(one, device=self.device) for path, one in found.files.items()}
        )

    async def read(self, path: bytes) -> Content | Unreadable:
        found = await super().read(path)
        if isinstance(found, Unreadable):
            return found
        return replace(found, stamp=replace(found.stamp, device=self.device))


class KilledRows:
    """The rows of a library; the process is killed before or after one of the calls."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self.left: int | None = None  # calls until then; None: it is not
        self.after = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            dies = self.left == 0
            self.left = None if self.left is None else self.left - 1
            if dies and not self.after:
                raise Killed
            found = await getattr(self._rows, name)(*args, **options)
            if dies:
                raise Killed
            return found

        return call


@dataclass
class Picture:
    """An image as the last scan left it."""

    id: str
    tag: str | None = None
    since: datetime | None = None  # when it was first seen to be missing


class Library(RuleBasedStateMachine):
    """One library, compared with the files of its folder."""

    model_repo: Path

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="diptych-library-"))
        self.disk, self.other, self.root = self.top / "disk", self.top / "other", self.top / "root"
        for folder in (self.disk, self.other, self.top / "data"):
            folder.mkdir()
        (self.other / "a.png").write_bytes(tiny_png(99))
        (self.other / "new.png").write_bytes(tiny_png(98))
        self.root.symlink_to(self.disk)
        self.runner = asyncio.Runner()
        self.now, self.tick = datetime(2026, 1, 1, tzinfo=UTC), 0
        self.deleted: set[str] = set()
        self.pictures: dict[str, Picture] = {}  # of the last scan, by sha256
        self.missing: dict[str, Picture] = {}  # those whose files it did not find
        self.at: dict[str, str] = {}  # the sha256 at each path, at the last scan
        self.is_known = True  # whether the last scan ended
        self.home = self.disk  # what was mounted when the first files became known

    @initialize()
    def open(self) -> None:
        self.folder = MountedFolder(C, self.root, 10**6)

        async def opened() -> Opened:
            found = await Opened(
                self.model_repo, self.top / "data", 1, libraries={C: self.folder}
            ).__aenter__()
            if C not in found.collections:
                await found.collections.create(C, "reference")
            return found

        self.opened = self.runner.run(opened())
        self.rows = KilledRows(self.opened.libraries.rows)
        self.scanner = Scanner(
            C,
            folder=self.folder,
            rows=self.rows,  # type: ignore[arg-type]  # as it has all its methods
            previews=self.opened.libraries.previews,
            collections=self.opened.collections,
            now=lambda: self.now,
        )

    @rule()
    def restart(self) -> None:
        device = self.folder.device
        self.runner.run(self.opened.__aexit__())
        self.open()
        self.folder.device = device

    @rule(path=PATHS, content=CONTENTS)
    def write(self, path: str, content: bytes) -> None:
        file = self.disk / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        self._touch(file)

    @rule(path=PATHS)
    def touch(self, path: str) -> None:
        if (self.disk / path).is_file():
            self._touch(self.disk / path)

    @rule(path=PATHS, to=PATHS)
    def move(self, path: str, to: str) -> None:
        if (self.disk / path).exists():
            (self.disk / to).parent.mkdir(parents=True, exist_ok=True)
            (self.disk / path).replace(self.disk / to)

    @rule(path=PATHS, to=PATHS)
    def swap(self, path: str, to: str) -> None:
        if (self.disk / path).exists() and (self.disk / to).exists() and path != to:
            (self.disk / path).rename(self.top / "swap")
            (self.disk / to).rename(self.disk / path)
            (self.top / "swap").rename(self.disk / to)

    @rule(path=PATHS, title=st.sampled_from(["one", "two"]), ending=ENDINGS)
    def write_sidecar(self, path: str, title: str, ending: str) -> None:
        self.write(path.removesuffix(".png") + ending, xmp_of(title={"x-default": title}))

    @rule(path=PATHS, ending=ENDINGS)
    def remove_sidecar(self, path: str, ending: str) -> None:
        (self.disk / (path.removesuffix(".png") + ending)).unlink(missing_ok=True)

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        (self.disk / path).unlink(missing_ok=True)

    @rule(folder=FOLDERS)
    def remove_folder(self, folder: str) -> None:
        if (self.disk / folder).is_dir():
            shutil.rmtree(self.disk / folder)

    @rule(path=PATHS)
    def replace_by_link(self, path: str) -> None:
        if (self.disk / path).is_file():
            (self.disk / path).unlink()
            (self.disk / path).symlink_to(self.other / "a.png")

    @rule(what=st.sampled_from(["nothing", "an empty folder", "another disk", "the disk"]))
    def mount(self, what: str) -> None:
        self.root.unlink()
        (self.top / "empty").mkdir(exist_ok=True)
        places = {"nothing": "gone", "an empty folder": "empty", "another disk": "other", "the disk": "disk"}
        self.root.symlink_to(self.top / places[what])
        self.folder.device = "b" if what == "another disk" else "a"

    @rule(days=st.sampled_from([1, GRACE.days + 1]))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(number=st.integers(0, 7))
    def delete(self, number: int) -> None:
        record = self._one(number)
        if record is not None:
            self.runner.run(self.opened.collections.images.delete(C, record.id))
            self.deleted.add(record.sha256)
            for pictures in (self.pictures, self.missing):
                pictures.pop(record.sha256, None)

    @rule(number=st.integers(0, 7), tag=st.sampled_from(["x", "y"]))
    def tag(self, number: int, tag: str) -> None:
        record = self._one(number)
        if record is not None:
            self.runner.run(self.opened.collections.images.patch(C, record.id, {"tag": tag}))
            for pictures in (self.pictures, self.missing):
                if record.sha256 in pictures:
                    pictures[record.sha256].tag = tag

    @rule(left=st.integers(0, 12), after=st.booleans())
    def scan_and_be_killed(self, left: int, after: bool) -> None:
        self.rows.left, self.rows.after = left, after
        try:
            self.scan()
        except Killed:
            self.is_known = False
            self.restart()
        self.rows.left = None

    @rule()
    def scan(self) -> None:
        before = self._records()
        if not self._knows_files():
            self.home = self.root.resolve()
        try:
            self.runner.run(self.scanner.run())
        except LibraryAway:
            assert self.root.resolve() != self.home or not self._contents()
            assert self._records() == before
            return
        self.home = self.root.resolve()  # a copy of the files on another disk is taken for the library
        self._check()

    @invariant()
    def person_keeps_all_files(self) -> None:
        assert (self.other / "a.png").read_bytes() == tiny_png(99)

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.runner.run(self.opened.__aexit__())
        self.runner.close()
        shutil.rmtree(self.top)

    def _check(self) -> None:
        """Compare what is found with the folder, and ids and tags with those before."""
        at = {path: sha256_of(one) for path, one in self._contents().items() if one != BROKEN}
        there = set(at.values()) - self.deleted
        records = self._records()
        found = {sha256: one for sha256, one in records.items() if one.id in self._hits()}
        assert set(found) == there
        by_sha256 = self.pictures | self.missing
        for sha256, record in found.items():
            before = by_sha256.get(sha256)
            if before is None and self.is_known:
                before = self._changed_in_place(sha256, at, by_sha256)
            if before is not None and self.is_known:
                assert record.id == before.id
            if before is not None and before.id == record.id:
                assert record.metadata.get("tag") == before.tag
            file = record.metadata["file"]
            assert "missing" not in file
            paths = [path for path, one in at.items() if one == sha256]
            assert (file["folder"], file["name"], file.get("title")) in map(self._description_of, paths)
            payload, _ = self.runner.run(self.opened.collections.images.original(C, record.id))
            assert sha256_of(payload) == sha256
        self._check_missing(records.keys() - found.keys(), records)
        self.at, self.is_known = at, True
        self.pictures = {
            sha256: Picture(record.id, record.metadata.get("tag")) for sha256, record in found.items()
        }
        self.missing = {
            sha256: Picture(record.id, record.metadata.get("tag"), self._missing_since(sha256))
            for sha256, record in records.items()
            if sha256 not in found
        }

    def _check_missing(self, missing: set[str], records: dict[str, ImageRecord]) -> None:
        """They are marked, and known; what has just gone is among them, and nothing is for too long."""
        for sha256 in missing:
            assert "missing" in records[sha256].metadata["file"]
            assert sha256 in self.pictures or sha256 in self.missing or not self.is_known
            assert self.now - self._missing_since(sha256) <= GRACE
        contents = self._contents()
        for sha256 in self.pictures if self.is_known else ():
            paths = [path for path, one in self.at.items() if one == sha256]
            assert sha256 in records or any(path in contents for path in paths)

    def _description_of(self, path: str) -> tuple[str, str, str | None]:
        """The folder and the name of a file, and the title that its sidecar gives."""
        for name in (f"{path}.xmp", f"{path.removesuffix('.png')}.xmp"):
            if (self.root / name).is_file():
                title = "one" if b">one<" in (self.root / name).read_bytes() else "two"
                break
        else:
            title = None
        within = PurePosixPath(os.fsencode(path).decode(errors="replace"))
        return str(within.parent), within.name, title

    def _missing_since(self, sha256: str) -> datetime:
        before = self.missing.get(sha256)
        return self.now if before is None or before.since is None else before.since

    def _changed_in_place(
        self, sha256: str, at: dict[str, str], before: dict[str, Picture]
    ) -> Picture | None:
        """The picture that new content has taken the place of, if that is certain."""
        paths = [path for path, one in at.items() if one == sha256]
        old = self.at.get(paths[0])
        if len(paths) > 1 or old is None or old in at.values() or old in self.deleted:
            return None
        return before.get(old) if Counter(self.at.values())[old] == 1 else None

    def _contents(self) -> dict[str, bytes]:
        """The files that are mounted, by path."""
        found: dict[str, bytes] = {}
        for folder, _, names in os.walk(self.root.resolve()):
            for file in (Path(folder, name) for name in names):
                if not file.is_symlink() and file.suffix != ".xmp":
                    found[str(file.relative_to(self.root.resolve()))] = file.read_bytes()
        return found

    def _knows_files(self) -> bool:
        c = self.opened.collections[C].number
        files = self.runner.run(self.opened.libraries.rows.files(c))
        return any(one.missing_since is None for one in files)

    def _records(self) -> dict[str, ImageRecord]:
        page, _ = self.runner.run(self.opened.collections.images.list(C, None, ALL))
        assert len({one.sha256 for one in page}) == len(page)
        return {one.sha256: one for one in page}

    def _hits(self) -> set[str]:
        query = self.runner.run(self.opened.embedder.embed_image(tiny_png(50)))
        return {hit.id for hit in self.runner.run(self.opened.search(C, query, k=ALL))}

    def _one(self, number: int) -> ImageRecord | None:
        records = sorted(self._records().items())
        return records[number % len(records)][1] if records else None

    def _touch(self, file: Path) -> None:
        self.tick += 1
        os.utime(file, (1_600_000_000 + self.tick,) * 2)


def run_machine(tmp_path: Path, n_examples: int, n_steps: int) -> None:
    write_tiny_bundle(tmp_path)
    Library.model_repo = tmp_path
    checks = settings(
        max_examples=n_examples,
        stateful_step_count=n_steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(Library, settings=checks)


def test_collection_follows_the_folder(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=10, n_steps=30)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_collection_follows_the_folder_for_long(tmp_path: Path) -> None:
    run_machine(tmp_path, n_examples=300, n_steps=60)
