"""One scan of a library: the collection is brought in step with the folder."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from diptych.core.collections.service import Collections
from diptych.core.libraries.adding import Additions
from diptych.core.libraries.describing import Descriptions
from diptych.core.libraries.files import NS, KnownFiles, chunks, named
from diptych.core.libraries.plan import Plan, check_lost, plan_scan
from diptych.core.libraries.ports import LibraryFolder, LibraryRows, Listing, Path, Previews
from diptych.core.libraries.reading import ReadFile, read_all
from diptych.core.types import NO_ROWS
from diptych.errors import Conflict

GRACE = timedelta(days=30)  # after which a missing file is dropped


@dataclass(eq=False)
class Progress:
    """How far a scan has read the files that are new or have changed."""

    n_to_read: int
    n_read: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def files_per_s(self) -> float | None:
        """The rate so far; None while nothing is read."""
        elapsed_s = time.monotonic() - self.began
        return self.n_read / elapsed_s if self.n_read and elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """The seconds that the rest will take at this rate."""
        rate = self.files_per_s
        return None if rate is None else max(0, self.n_to_read - self.n_read) / rate


class Scanner:
    """Scans one library, again and again. Each step is safe to repeat: after a kill the next scan goes on."""

    def __init__(
        self,
        name: str,
        *,
        folder: LibraryFolder,
        rows: LibraryRows,
        previews: Previews,
        collections: Collections,
        doubtful: set[Path] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`name` is that of the library and its collection. `doubtful`: files that were found to have other
        bytes than they had, to which others add; they are read again.
        """
        self._name = name
        self._folder = folder
        self._rows = rows
        self._previews = previews
        self._collections = collections
        self._additions = Additions(name, rows, collections, self._mark_missing)
        self._doubtful = set[Path]() if doubtful is None else doubtful
        self._now = now
        self.known: KnownFiles | None = None  # None: to be read from the store
        self.progress: Progress | None = None  # None while no file is to be read
        self._descriptions = Descriptions(folder, Listing(), 0)  # of the scan that is under way
        self.listing_s = 0.0  # seconds that the last listing took
        self.problems: dict[str, str] = {}  # by path: why files are left alone, or are no pictures

    async def run(self, *, asked: bool = False, restores: bool = False) -> Plan:
        """Scan once; return what was done. `asked`, by a person: what was no picture before is read
        again, and most pictures may be gone. `restores`: pictures that people have deleted are added again.

        Raises LibraryAway; Conflict when the collection is not of this library, or is not served; StoreError,
        NotReady.
        """
        began = time.monotonic()
        listing = await self._folder.listing()
        self.listing_s = time.monotonic() - began
        is_first, known = self.known is None, await self._known_files()
        now_ns = int(self._now().timestamp() * NS)
        restored = await self._deleted(known) if restores else set[str]()
        self._additions.restored = restored
        again = {*self._doubtful, *known.paths_of(restored)}
        plan = await asyncio.to_thread(plan_scan, known.by_path, listing, now_ns, asked=asked, again=again)
        if not asked:
            await asyncio.to_thread(check_lost, self._name, known.by_path, listing, plan)
        self._descriptions = await asyncio.to_thread(Descriptions, self._folder, listing, now_ns)
        self.progress = Progress(plan.n_to_read) if plan.n_to_read else None
        try:
            await self._change(known, plan)
            await self._rows.restore(known.c, restored)
            self._doubtful -= again
            await self._descriptions.follow(known, plan.problems, retries=asked)
            done, before = plan.without_problems(), _text(self._now() - GRACE)
            if is_first or not done.is_empty or known.has_missing(before):
                await self._tidy(known, before)
        except BaseException:
            self.known = None  # the store may know more
            raise
        finally:
            self.progress = None
        self.problems = {
            **{
                named(path): reason
                for path, reason in (plan.problems | self._descriptions.sidecars.unread).items()
            },
            **{named(one.path): one.problem for one in known.all_files() if one.problem},
        }
        return done

    async def _deleted(self, known: KnownFiles) -> set[str]:
        """The sha256 of known files whose images people have deleted."""
        sha256s = {one.sha256 for one in known.by_path.values() if one.sha256 is not None}
        return await self._rows.deleted(known.c, sha256s)

    async def _known_files(self) -> KnownFiles:
        collection = self._collections[self._name]
        if collection.keep != "reference":
            raise Conflict(
                f"collection {self._name!r} is of no library: give the library another name, or start the "
                f"server without --library {self._name}=FOLDER and rename or drop the collection"
            )
        collection.require_served()
        c = collection.number
        if self.known is None or self.known.c != c:
            self.known = KnownFiles(c, await self._rows.files(c), self._rows)
        return self.known

    async def _change(self, known: KnownFiles, plan: Plan) -> None:
        for some in chunks(plan.on_other_disk):
            await known.record(some)
        await self._add_new(known, plan)
        # A picture may have moved from one changed file to another: first all whose content is known.
        rest, lost = list[Path](), {*plan.changed, *plan.gone}
        stay = await self._descriptions.first_paths(
            known, {known.by_path[path].sha256 for path in plan.changed}, lost
        )
        await self._descriptions.describe(known, stay)
        async for files in self._read(plan, sorted(plan.changed)):
            rest += await self._additions.record_known(known, files, stay)
        if self.progress is not None:
            self.progress.n_to_read += len(rest)  # they are read twice
        gone = Counter(known.by_path[path].sha256 for path in plan.gone)
        async for files in self._read(plan, rest):
            for one in files:
                await self._additions.change(known, one, gone)
        await self._forget(known, plan.gone)

    async def _add_new(self, known: KnownFiles, plan: Plan) -> None:
        """Add new files, two batches at once: one is decoded while the other one is encoded."""
        adding: asyncio.Task[None] | None = None
        try:
            async for files in self._read(plan, sorted(plan.new)):
                before, adding = adding, asyncio.create_task(self._additions.add(known, files))
                if before is not None:
                    await before
            if adding is not None:
                await adding
        finally:
            if adding is not None:
                adding.cancel()  # it has ended, unless this failed or is cancelled
                await asyncio.gather(adding, return_exceptions=True)

    async def _read(self, plan: Plan, paths: Sequence[Path]) -> AsyncIterator[list[ReadFile]]:
        """Read files, and note which ones cannot be read now."""
        async for batch in read_all(
            self._folder, self._descriptions.sidecars, paths, [plan.sizes[path] for path in paths]
        ):
            plan.problems.update(batch.unread)
            yield batch.files
            if self.progress is not None:
                self.progress.n_read += batch.n_files

    async def _forget(self, known: KnownFiles, gone: Sequence[Path]) -> None:
        """Forget the places that pictures have moved from, and mark the other files as missing."""
        sha256s = {sha256 for path in gone if (sha256 := known.by_path[path].sha256)}
        elsewhere = await self._descriptions.first_paths(known, sha256s, set(gone))
        for some in chunks(sorted(gone)):
            by_sha256 = {path: known.by_path[path].sha256 or "" for path in some}
            lost = set(by_sha256.values()) - elsewhere.keys()
            images = await self._rows.images(known.c, lost)
            missing = [path for path, sha256 in by_sha256.items() if sha256 in images]
            moved = {path: sha256 for path, sha256 in by_sha256.items() if sha256 not in images}
            found = {sha256: elsewhere[sha256] for sha256 in moved.values() if sha256 in elsewhere}
            await self._descriptions.describe(known, found, gone=moved.keys())
            await self._mark_missing(known, missing)

    async def _mark_missing(self, known: KnownFiles, paths: Sequence[Path]) -> None:
        if paths:
            await self._collections.between_writes(lambda: self._mark(known, paths))

    async def _mark(self, known: KnownFiles, paths: Sequence[Path]) -> None:
        collection, since = self._collections[self._name], _text(self._now())
        removed = await self._rows.mark_missing(known.c, paths, since)
        for path in paths:
            known.note(replace(known.by_path[path], missing_since=since))
        await collection.lose(removed.keys)

    async def _tidy(self, known: KnownFiles, before: str) -> None:
        """Drop what is missing since an earlier time, and images whose only file has got other content."""

        async def drop() -> tuple[str, ...]:
            collection = self._collections[self._name]
            removed = await self._rows.tidy(known.c, before)
            known.note_dropped(before)
            await collection.change(removed.keys, (), NO_ROWS, removed.change)
            return removed.released

        await self._previews.remove(await self._collections.between_writes(drop))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
