"""Long adds that nobody has to wait for: accepted, run one after the other, told of, cancelled.

Knows nothing of HTTP, SQL or files.
"""

import asyncio
import builtins
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace as changed
from datetime import UTC, datetime

from diptych.core.background import Background
from diptych.core.collections import Collections
from diptych.core.job import EndState, Job, JobItem, JobOutcome, JobState
from diptych.core.job_checks import checked
from diptych.core.job_ports import JobInput, JobInputs, JobStore
from diptych.core.job_runner import MAX_BATCH, JobRunner
from diptych.errors import Conflict, CorruptStore, DiptychError, NotFound, NotReady, Overloaded, StoreError

log = logging.getLogger(__name__)

MAX_WAITING = 16  # jobs that come in, wait or run: each may have gigabytes of input
MAX_ENDED = 100  # jobs that have ended and are still told of
RETRY_S = 30.0
PAUSE_S = 10.0  # before a job is tried again when the data folder failed


class Jobs:
    """A job is on the disk with all of its input before it is accepted, and goes on after a restart.

    Items are done in their order. One that was being added when the server was killed, before its outcome
    was written, is added again, which finds it "unchanged".
    """

    def __init__(
        self,
        *,
        collections: Collections,
        store: JobStore,
        inputs: JobInputs,
        max_batch: int = MAX_BATCH,
        max_metadata_bytes: int = 16_384,
    ) -> None:
        self._collections = collections
        self._store = store
        self._inputs = inputs
        self._runner = JobRunner(collections=collections, store=store, inputs=inputs, max_batch=max_batch)
        self._max_metadata_bytes = max_metadata_bytes
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._targets: dict[str, str] = {}  # accepted jobs that have not ended -> their collections
        self._n_coming = 0
        self._running: str | None = None
        self._trouble: dict[str, str] = {}  # why a job does not get on
        self._cancelled: set[str] = set()
        self._background = Background()
        self._change = asyncio.Event()

    async def open(self) -> None:
        """Drop inputs that no job needs, and go on with the jobs that had not ended."""
        waiting = [job for job in await self._store.jobs() if not job.has_ended]
        await self._inputs.keep_only({job.id for job in waiting})
        for job in reversed(waiting):  # the oldest first
            self._enqueue(job)
        self._background.start(self._run_all(), "running jobs")

    async def close(self) -> None:
        """Stop; what is being written is written to its end, and jobs go on at the next start."""
        await self._background.close()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[JobInput]:
        """An input to write to; it is removed unless it was submitted. Raises Overloaded, StoreError."""
        if len(self._targets) + self._n_coming >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} jobs have not ended, which is the limit", RETRY_S)
        self._n_coming += 1
        try:
            job_input = await self._inputs.create(uuid.uuid4().hex)
            try:
                yield job_input
            finally:
                await asyncio.shield(job_input.close())  # removes it, unless it is finished
        finally:
            self._n_coming -= 1

    async def submit(
        self, job_input: JobInput, collection: str, items: Sequence[JobItem], *, replace: bool
    ) -> Job:
        """Accept it: durable when this returns. Raises NotFound or Conflict of the collection, StoreError."""
        self._collections.require_served(collection)
        items = await asyncio.to_thread(checked, items, self._max_metadata_bytes)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        job = Job(job_input.id, collection, replace, "queued", len(items), now)
        await asyncio.shield(self._accept(job_input, job, items))
        log.info("job %s has %d items", job.id, job.n_items)
        return job

    async def list(self) -> builtins.list[Job]:
        """All that are known, the newest first."""
        return [self._as_seen(job) for job in await self._store.jobs()]

    async def get(self, id: str) -> Job:
        """One of them. Raises NotFound."""
        job = await self._store.find(id)
        if job is None:
            raise NotFound(f"no job {id[:80]!r}")
        return self._as_seen(job)

    async def outcomes(self, id: str, after: int, limit: int) -> builtins.list[JobOutcome]:
        """What became of items behind index `after`, in their order, as far as it is known."""
        return await self._store.outcomes(id, after, limit)

    async def cancel(self, id: str) -> Job:
        """Items that are being added still are; those behind them are not tried. Raises NotFound.

        A job that has ended stays as it is.
        """
        if not (await self.get(id)).has_ended:
            self._cancelled.add(id)
            self._tell()
            if self._running != id:
                await self._end(id, "cancelled")
            while id in self._targets:
                await self._change.wait()
        return await self.get(id)

    def next_change(self) -> asyncio.Event:
        """It is set when something more becomes known of any job."""
        return self._change

    def require_none(self, collection: str) -> None:
        """Raises Conflict while a job adds to the collection, or waits to."""
        if collection in self._targets.values():
            raise Conflict(f"a job adds to collection {collection!r}: wait for its end, or cancel it")

    async def _accept(self, job_input: JobInput, job: Job, items: Sequence[JobItem]) -> None:
        """File, then row: a kill in between leaves an input that no job needs."""
        await job_input.finish()
        await self._store.create(job, items)
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self._targets[job.id] = job.collection
        self._queue.put_nowait(job.id)

    async def _run_all(self) -> None:
        while True:
            id = await self._queue.get()
            if id in self._targets and id not in self._cancelled:
                self._running = id
                await self._run(id)
                self._running = None

    async def _run(self, id: str) -> None:
        """To its end, however often the data folder fails meanwhile: a full disk may get room again."""
        while True:
            try:
                await self._try(id)
                return
            except StoreError as error:
                log.warning("job %s waits: %s", id, error)
                self._trouble[id] = str(error)
                self._tell()
            try:
                async with asyncio.timeout(PAUSE_S):
                    while id not in self._cancelled:
                        await self._change.wait()
            except TimeoutError:
                pass

    async def _try(self, id: str) -> None:
        state: EndState = "done"
        reason = ""
        try:
            job = await self.get(id)
            await self._runner.run(job, lambda: id in self._cancelled, lambda: self._progressed(id))
        except CorruptStore as error:
            state, reason = "failed", str(error)
        except (NotReady, StoreError):
            raise
        except DiptychError as error:
            state, reason = "failed", str(error)
        except Exception:
            log.exception("job %s failed", id)
            state, reason = "failed", "unexpected error, see the server's log"
        else:
            state = "cancelled" if id in self._cancelled else "done"
        await self._end(id, state, reason)

    def _progressed(self, id: str) -> None:
        self._trouble.pop(id, None)
        self._tell()

    async def _end(self, id: str, state: EndState, reason: str = "") -> None:
        await self._store.finish(id, state, reason)
        try:
            await self._inputs.remove(id)
        except StoreError as error:  # the next start removes what no job needs
            log.warning("the input of job %s is left: %s", id, error)
        self._targets.pop(id, None)
        self._cancelled.discard(id)
        self._trouble.pop(id, None)
        self._tell()
        log.info("job %s is %s", id, state)
        await self._store.forget(MAX_ENDED)

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _as_seen(self, job: Job) -> Job:
        """Its end is told when nothing of it is left: its input is gone, and its collection free."""
        if job.has_ended and job.id not in self._targets:
            return job
        state: JobState = "running" if job.id == self._running else "queued"
        return changed(job, state=state, finished_at=None, reason=self._trouble.get(job.id, ""))
