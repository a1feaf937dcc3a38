"""Write image files before their rows, and remove files that no row uses."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from diptych.core.collections.stored.ports import ImageStore, Records
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.log_throttle import LogThrottle
from diptych.core.types import ImageRecord
from diptych.errors import NotReady, StoreError, StoreUnavailable

log = logging.getLogger(__name__)


class Claim:
    """The files of one add; nothing removes them while the add is under way."""

    def __init__(self, files: "FileReferences") -> None:
        self._files = files
        self.sha256s: frozenset[str] = frozenset()
        self.unused: set[str] = set()  # no committed row of this add uses them yet
        self.writing: asyncio.Task[None] | None = None

    def begin(self, payloads: Mapping[str, bytes]) -> None:
        """Claim the files sha256 -> bytes and start writing them in the background. Call once. Raises
        NotReady.
        """
        self.writing = self._files.begin(payloads)
        self.sha256s, self.unused = frozenset(payloads), set(payloads)

    async def written(self) -> None:
        """Wait until all files are durable and whole. Raises StoreError."""
        if self.writing is not None:
            await asyncio.shield(self.writing)

    def mark_used(self, sha256s: Iterable[str]) -> None:
        """Record that committed rows of this add use these files."""
        self.unused.difference_update(sha256s)


class FileReferences:
    """The image files of all collections, and who needs them.

    An add claims its files. A claim starts before the files are looked for. It ends when the rows are
    committed or have failed, which may be after the caller left. A file that should have been removed
    meanwhile is checked again when its last claim ends. No two tasks touch the same file at once, so that its
    bytes are counted once. After a kill, at worst files are left that no row uses; the next start removes
    them.
    """

    def __init__(self, *, images: ImageStore, records: Records, write_queue: SerialWriteQueue) -> None:
        self._images = images
        self._records = records
        self._write_queue = write_queue
        self._n_claims: Counter[str] = Counter()
        self._deferred: set[str] = set()  # removals that wait for the end of a claim
        self._busy: set[str] = set()  # files that are being written or removed
        self._change = asyncio.Event()
        self._throttle = LogThrottle()

    async def require_available(self) -> None:
        """Raise StoreUnavailable while the files are out of reach: a row must not go while its file stays."""
        await self._images.require_available()

    async def require_writable(self) -> None:
        """Raise StoreUnavailable, StoreReadOnly while files or rows cannot be written."""
        await self._images.require_writable()
        await self._records.require_writable()

    @asynccontextmanager
    async def claim(self) -> AsyncIterator[Claim]:
        """A claim for the duration of the block. Files that no row uses after the block are removed."""
        claim = Claim(self)
        try:
            yield claim
        finally:
            if claim.writing is not None:
                await self._finish(claim, claim.writing)

    def begin(self, payloads: Mapping[str, bytes]) -> "asyncio.Task[None]":
        """Claim the files now; they are written when the returned task is done. Raises NotReady."""
        writing = self._write_queue.run_alongside(self._put(payloads))
        self._n_claims.update(payloads.keys())
        return writing

    async def repair(self, payloads: Mapping[str, bytes]) -> None:
        """Write the files of existing images again, as they may have been lost or damaged. Only inside a
        write.
        """
        used = await self._records.rows.used_files(list(payloads))
        await self._put({sha256: payloads[sha256] for sha256 in used}, are_used=True)

    async def ids_without_file(self, records: Iterable[ImageRecord]) -> set[str]:
        """Ids of the records whose file is missing or has another size: adding those images again repairs
        that.
        """
        kept = [record for record in records if record.kept]
        sizes = await self._images.sizes([record.sha256 for record in kept])
        return {record.id for record in kept if sizes.get(record.sha256) != record.n_bytes}

    async def remove_unused(self, sha256s: Collection[str]) -> int:
        """Delete those of the files that no row uses; return how many. Only inside a write."""
        if not sha256s:
            return 0
        unused = set(sha256s) - await self._records.rows.used_files(list(sha256s))
        await self.remove(unused)
        return len(unused)

    async def sweep(self, sha256s: Collection[str]) -> int:
        """As `remove_unused`, in a turn among the writes. Raises NotReady."""
        return await self._write_queue.run(self.remove_unused(sha256s))

    async def remove(self, sha256s: Collection[str]) -> None:
        """Delete the files, which no row uses, except those that an add has claimed. Only inside a write."""
        claimed = {sha256 for sha256 in sha256s if sha256 in self._n_claims}
        self._deferred |= claimed
        free = set(sha256s) - claimed
        assert self._busy.isdisjoint(free), "writers claim their files, and removals take turns"
        self._busy |= free
        try:
            await self._images.remove(sorted(free))
        finally:
            self._mark_free(free)

    async def _put(self, payloads: Mapping[str, bytes], *, are_used: bool = False) -> None:
        while not self._busy.isdisjoint(payloads):
            await self._change.wait()
        self._busy.update(payloads)
        try:
            await self._images.put(dict(payloads), are_used=are_used)
        finally:
            self._mark_free(payloads.keys())

    async def _finish(self, claim: Claim, writing: "asyncio.Task[None]") -> None:
        if writing.done() and not self._maybe_unused(claim):
            self._release(claim)
            return
        with suppress(NotReady):  # the server is stopping: the next start checks all files
            await asyncio.shield(self._write_queue.run_alongside(self._release_later(claim, writing)))

    async def _release_later(self, claim: Claim, writing: "asyncio.Task[None]") -> None:
        await asyncio.wait([writing])
        await self._write_queue.run(self._end(claim))

    async def _end(self, claim: Claim) -> None:
        """End a claim. By now the rows of its add, and the removals that it deferred, have had their turn."""
        doubtful = self._maybe_unused(claim)
        self._release(claim)
        try:
            await self.remove_unused(doubtful)
        except StoreUnavailable:
            pass  # logged already
        except StoreError as error:
            if self._throttle.should_log(type(error).__name__):
                log.warning("files that no image uses are left until the next start: %s", error)

    def _maybe_unused(self, claim: Claim) -> set[str]:
        """Files that possibly nobody uses."""
        return claim.unused | (claim.sha256s & self._deferred)

    def _release(self, claim: Claim) -> None:
        self._n_claims.subtract(claim.sha256s)
        over = {sha256 for sha256 in claim.sha256s if not self._n_claims[sha256]}
        for sha256 in over:
            del self._n_claims[sha256]
        self._deferred -= over

    def _mark_free(self, sha256s: Collection[str]) -> None:
        self._busy.difference_update(sha256s)
        self._change.set()
        self._change = asyncio.Event()
