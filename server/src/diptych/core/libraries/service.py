"""The libraries of a server: scanned at the start, whenever their files change, and on request."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from diptych.core.collections.service import Collections
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.libraries.scan import Progress, Scanner
from diptych.errors import Conflict, DiptychError, NotFound

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
LOOK_SHARE = 0.2  # of all time that may go into looking at a large tree or a slow disk
MAX_PROBLEMS = 100  # that are shown

READ_ONLY = "this server is read-only and scans nothing"

LibraryState = Literal["idle", "scanning", "waiting"]


@dataclass(frozen=True)
class Library:
    """One library. "waiting": it cannot be scanned now, for the `reason`; it is tried again.

    `n_files`: files that are known; of these `n_missing` are not there any more, and `n_failed` are no
    pictures that can be read. `progress` is None while no file is to be read. `scanned_at`: when the folder
    was last looked at (ISO 8601), None before. `problems`: why files or folders are left alone, by path, the
    first of `n_problems`.
    """

    name: str
    state: LibraryState
    reason: str = ""
    n_files: int = 0
    n_missing: int = 0
    n_failed: int = 0
    progress: Progress | None = None
    scanned_at: str | None = None
    problems: Mapping[str, str] | None = None
    n_problems: int = 0


class _Watch:
    """Scans one library again and again."""

    def __init__(self, name: str, scanner: Scanner, reason: str) -> None:
        """`reason`: why it is not scanned; else empty."""
        self.name = name
        self._scanner = scanner
        self._asked = asyncio.Event()
        self._restores = False
        self._state: LibraryState = "waiting" if reason else "scanning"
        self._reason = reason
        self._scanned_at: str | None = None
        self._last: Library | None = None

    def ask(self, *, restores: bool) -> None:
        """Scan now, read again what was no picture, and accept that most pictures are gone, or a disk."""
        self._restores |= restores
        self._asked.set()

    def status(self) -> Library:
        """The state as callers see it."""
        known, problems = self._scanner.known, self._scanner.problems
        counts = self._last or Library(self.name, self._state)
        if known is not None:
            counts = replace(
                counts,
                n_files=len(known.by_path),
                n_missing=known.n_missing,
                n_failed=known.n_failed,
            )
        is_scanning = self._asked.is_set() or self._scanner.progress is not None
        self._last = replace(
            counts,
            state="scanning" if is_scanning else self._state,
            reason=self._reason,
            progress=self._scanner.progress,
            scanned_at=self._scanned_at,
            problems=dict(sorted(problems.items())[:MAX_PROBLEMS]),
            n_problems=len(problems),
        )
        return self._last

    async def run(self) -> None:
        """Scan until the task is cancelled."""
        asked = False
        while True:
            restores, self._restores = asked and self._restores, self._restores and not asked
            await self._look(asked=asked, restores=restores)
            if asked:
                self._asked.clear()
            pause_s = max(LOOK_EVERY_S, self._scanner.listing_s * (1 / LOOK_SHARE - 1))
            asked = await self._pause(pause_s)

    async def _look(self, *, asked: bool, restores: bool) -> None:
        try:
            plan = await self._scanner.run(asked=asked, restores=restores)
        except DiptychError as error:
            self._wait(str(error))
        except Exception:
            log.exception("library %s cannot be scanned", self.name)
            self._wait("unexpected error, see the server's log")
        else:
            if self._reason:
                log.info("library %s is scanned again", self.name)
            self._state, self._reason = "idle", ""
            self._scanned_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            if not plan.is_empty:
                log.info(
                    "library %s: %d new files, %d changed, %d gone",
                    *(self.name, len(plan.new), len(plan.changed), len(plan.gone)),
                )

    def _wait(self, reason: str) -> None:
        if self._reason != reason:  # it is tried every few seconds
            log.warning("library %s waits: %s", self.name, reason)
        self._state, self._reason = "waiting", reason

    async def _pause(self, pause_s: float) -> bool:
        """Wait for the next look; return whether somebody asked for it."""
        try:
            async with asyncio.timeout(pause_s):
                await self._asked.wait()
        except TimeoutError:
            return False
        return True


class Libraries:
    """All libraries, by name. Each has the collection of its name."""

    def __init__(
        self, collections: Collections, scanners: Mapping[str, Scanner], *, read_only: bool = False
    ) -> None:
        """With `read_only` they are not opened: nothing is scanned."""
        self._collections = collections
        reason = READ_ONLY if read_only else ""
        self._watches = {name: _Watch(name, scanners[name], reason) for name in sorted(scanners)}
        self._background = TaskSet()

    async def open(self) -> None:
        """Make the collections that lack, and begin to scan. Raises StoreError."""
        for name, watch in self._watches.items():
            if name not in self._collections:
                await self._collections.create(name, "reference")
            self._background.start(watch.run(), f"scanning library {watch.name}")

    async def close(self) -> None:
        """Stop scanning; what is stored stays, and the next start goes on."""
        await self._background.close()

    def list(self) -> list[Library]:
        """All libraries, by name."""
        return [watch.status() for watch in self._watches.values()]

    def scan(self, name: str, *, restores: bool = False) -> Library:
        """Scan a library as soon as possible, read again what was no picture, and accept that most pictures
        are gone, or a disk. `restores`: add pictures again that people have deleted. Raises NotFound.
        """
        watch = self._watches.get(name)
        if watch is None:
            raise library_not_found(name)
        watch.ask(restores=restores)
        return watch.status()

    def require_free(self, collection: str) -> None:
        """Raise Conflict for the collection of a library."""
        if collection in self._watches:
            raise Conflict(
                f"collection {collection!r} is that of a library: start the server without --library "
                f"{collection}=FOLDER, then rename, change or drop it"
            )


def library_not_found(name: str) -> NotFound:
    """The error for a name that no library has, or that the caller may not know of: the two look alike."""
    return NotFound(f"no library named {name[:80]!r}")
