"""Jobs: long adds in the background, accepted, run one after the other, reported, cancelled."""

import asyncio
import builtins
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace as changed
from datetime import UTC, datetime

from diptych.core.collections.service import Collections
from diptych.core.concurrency.fair_queue import Tenant, acting_for, current_tenant
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.job import EndState, Job, JobItem, JobOutcome, JobState
from diptych.core.jobs.items import check_items
from diptych.core.jobs.others import JobsOfOthers
from diptych.core.jobs.ports import JobInput, JobInputs, JobStore
from diptych.core.jobs.queue import JobQueue
from diptych.core.jobs.runner import MAX_BATCH, JobRunner
from diptych.core.ports import Metrics, refusal_of
from diptych.errors import (
    Conflict,
    CorruptStore,
    DiptychError,
    NotFound,
    NotReady,
    Overloaded,
    StoreError,
    StoreFull,
)

log = logging.getLogger(__name__)

MAX_WAITING = 16  # jobs of one key that wait or run; each may have gigabytes of input
MAX_WAITING_OF_ALL = 64
MAX_ENDED = 100  # ended jobs that are still listed
RETRY_S = 30.0
LOOK_S = 1.0  # between two looks at jobs of other servers
PAUSE_S = 10.0  # before a job is tried again after the data folder failed


class Jobs:
    """Runs jobs one at a time, in turns of the keys that brought them. A job is on disk with all its input
    before it is accepted, and survives restarts.

    A job whose collection is not served, as it belongs to another model, waits until a server serves it
    again.

    Items are added in order. The rows of an item and its outcome are on disk together, or neither is: after a
    kill at any moment, a job continues with the first item that it has not done.
    """

    def __init__(
        self,
        *,
        collections: Collections,
        store: JobStore,
        inputs: JobInputs,
        metrics: Metrics,
        max_batch: int = MAX_BATCH,
        max_metadata_bytes: int = 16_384,
    ) -> None:
        self._collections = collections
        self._store = store
        self._inputs = inputs
        self._metrics = metrics
        self._runner = JobRunner(collections=collections, store=store, inputs=inputs, max_batch=max_batch)
        self._others = JobsOfOthers(collections.peers, store)
        self._max_metadata_bytes = max_metadata_bytes
        self._queue = JobQueue(collections.require_served)
        self._accepting = Counter[Tenant]()
        self._running: str | None = None
        self._adding: asyncio.Task[None] | None = None  # of the job that runs
        self._visible: Job | None = None  # the job that runs, counting images that can be found
        self._problems: dict[str, str] = {}  # why a job makes no progress
        self._unrecorded: dict[str, tuple[StoreError, str]] = {}  # why an end is not on disk, and its time
        self._background = TaskSet()
        self._change = asyncio.Event()

    async def open(self) -> None:
        """Drop inputs that no job needs, and continue the jobs that had not ended.

        Where several servers use the database, each runs the jobs that it accepted: it has their inputs.
        """
        waiting = [job for job in await self._store.jobs() if not job.has_ended]
        here = await self._inputs.keep_only({job.id for job in waiting})
        if not self._collections.peers.is_alone:
            waiting = [job for job in waiting if job.id in here]
        for job in reversed(waiting):  # the oldest first
            await self._others.begin(job.id)
            self._queue.put(job)
            if obstacle := self._queue.obstacle(job.id):
                log.warning("job %s waits: %s", job.id, obstacle)
        self._background.start(self._run_all(), "running jobs")
        if not self._collections.peers.is_alone:
            self._background.start(self._look_at_others(), "looking at jobs of other servers")

    async def open_read_only(self) -> None:
        """Follow the jobs of other servers, where there are some; run none."""
        if not self._collections.peers.is_alone:
            self._background.start(self._look_at_others(), "looking at jobs of other servers")

    async def close(self) -> None:
        """Stop running jobs; writes that have begun are finished, and jobs continue at the next start."""
        await self._background.close()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[JobInput]:
        """An input to write to, removed unless it is submitted. Raises Overloaded, StoreError.

        It counts as a job only once it is complete: otherwise slow senders would keep all others out.
        """
        self._require_place()
        job_input = await self._inputs.create(uuid.uuid4().hex)
        try:
            yield job_input
        finally:
            await asyncio.shield(job_input.close())  # removes it unless it is finished

    async def submit(
        self, job_input: JobInput, collection: str, items: Sequence[JobItem], *, replace: bool
    ) -> Job:
        """Accept a job; it is durable when this returns.

        Raises NotFound or Conflict of the collection, Overloaded when there is no room any more, StoreError.
        """
        self._collections.require_served(collection)
        items = await asyncio.to_thread(check_items, items, self._max_metadata_bytes)
        job = Job(job_input.id, collection, replace, "queued", len(items), _now())
        await asyncio.shield(self._accept(job_input, job, items))
        log.info("job %s has %d items", job.id, job.n_items)
        return job

    async def list(self) -> builtins.list[Job]:
        """All known jobs, newest first."""
        return [self._as_seen(job) for job in await self._store.jobs()]

    async def get(self, id: str) -> Job:
        """One job. Raises NotFound."""
        return self._as_seen(await self._found(id))

    async def outcomes(self, id: str, after: int, limit: int) -> builtins.list[JobOutcome]:
        """Outcomes of items after index `after`, in order, as far as they are known."""
        outcomes = await self._store.outcomes(id, after, limit)
        if self._visible is None or self._visible.id != id:
            return outcomes
        return [one for one in outcomes if one.index < self._visible.n_done]

    async def cancel(self, id: str) -> Job:
        """Cancel a job: items that are being written still are, others are not tried. Raises NotFound.

        A job that has ended stays as it is. Raises StoreError when the disk does not accept the end of the
        job; the job has stopped all the same, and recording its end is tried again.
        """
        job = await self.get(id)
        if id not in self._queue:
            if not job.has_ended:  # another server runs it, and notices the end with the next item
                await self._store.finish(id, "cancelled", "")
                await self._others.end(id)
            return await self.get(id)
        self._queue.cancel(id)
        self._notify()
        if self._running == id and self._adding is not None:
            self._adding.cancel()
        if self._running != id:
            await self._end_cancelled(id)
        while self._running == id:
            await self._change.wait()
        if id in self._unrecorded:
            raise self._unrecorded[id][0]
        return await self.get(id)

    def next_change(self) -> asyncio.Event:
        """An event that is set when something more is known of any job."""
        return self._change

    def require_none(self, collection: str) -> None:
        """Raise Conflict while a job adds to the collection or waits to. The store checks again."""
        if self._queue.has_job_of(collection):
            raise Conflict(f"a job adds to collection {collection!r}: wait for its end, or cancel it")

    async def _accept(self, job_input: JobInput, job: Job, items: Sequence[JobItem]) -> None:
        """Write the file, then the row: a kill in between leaves an input that no job needs."""
        self._require_place()
        tenant = current_tenant()
        self._accepting[tenant] += 1
        try:
            await job_input.finish()
            try:
                await self._others.begin(job.id)
                await self._store.create(job, items)
            except DiptychError:
                with suppress(StoreError):  # otherwise the next start removes it
                    await self._inputs.remove(job.id)
                await self._others.end(job.id)
                raise
            self._queue.put(job, tenant)
        finally:
            self._accepting[tenant] -= 1

    def _require_place(self) -> None:
        tenant = current_tenant()
        if self._queue.n_of(tenant) + self._accepting[tenant] >= MAX_WAITING:
            whose = " of a key" if tenant else ""
            raise Overloaded(f"{MAX_WAITING} jobs have not ended, which is the limit{whose}", RETRY_S)
        if len(self._queue) + self._accepting.total() >= MAX_WAITING_OF_ALL:
            raise Overloaded(
                f"{MAX_WAITING_OF_ALL} jobs of all keys have not ended, which is the limit", RETRY_S
            )

    async def _run_all(self) -> None:
        while True:
            self._running = id = await self._queue.next()
            with acting_for(self._queue.tenant_of(id)):
                await self._run(id)
            self._running = self._visible = None
            self._notify()

    async def _look_at_others(self) -> None:
        """Let callers look again: jobs of other servers change without notice."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._others.look()
            except StoreError as error:
                log.debug("it is not known which servers run jobs: %s", error)
            self._notify()

    async def _run(self, id: str) -> None:
        """Run a job to its end, however often the data folder fails: a full disk may get room again.

        A job whose collection has to be embedded first stays in the queue, and lets others go first.
        """
        while True:
            try:
                await self._try(id)
                return
            except (NotReady, StoreError) as error:
                if self._problems.get(id) != str(error):  # log once, as it is tried again every few seconds
                    log.warning("job %s waits: %s", id, error)
                self._problems[id] = str(error)
                if reason := refusal_of(error):
                    self._metrics.count_rejected(reason)
                self._notify()
            if self._queue.is_cancelled(id):
                await self._end_cancelled(id)
                return
            if self._queue.obstacle(id):
                self._problems.pop(id, None)
                return
            try:
                async with asyncio.timeout(PAUSE_S):
                    while not self._queue.is_cancelled(id):
                        await self._change.wait()
            except TimeoutError:
                pass

    async def _try(self, id: str) -> None:
        state: EndState = "done"
        reason = ""
        try:
            self._visible = await self._found(id)
            await self._add_all(self._visible)
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
            state = "cancelled" if self._queue.is_cancelled(id) else "done"
        await self._end(id, state, reason)

    async def _add_all(self, job: Job) -> None:
        """Add all items, unless the job is cancelled; writes that began are finished when this returns."""
        task = asyncio.current_task()
        assert task is not None, "jobs run in a task"
        if self._queue.is_cancelled(job.id):
            return
        self._adding = asyncio.create_task(self._runner.run(job, self._on_progress))
        try:
            await self._adding
        except asyncio.CancelledError:
            if task.cancelling():  # the server stops
                raise
            await self._collections.finish_writes()
        finally:
            self._adding = None

    def _on_progress(self, outcomes: Sequence[JobOutcome]) -> None:
        assert self._visible is not None, "one runs"
        counts = Counter(self._visible.counts)
        counts.update(one.status for one in outcomes)
        self._visible = changed(self._visible, counts=counts)
        self._problems.pop(self._visible.id, None)
        self._notify()

    async def _end_cancelled(self, id: str) -> None:
        """Record the end on disk, or in memory while the disk refuses it."""
        try:
            await self._end(id, "cancelled")
        except StoreError as error:
            if id not in self._unrecorded:
                log.warning("job %s has stopped, which is not on the disk yet: %s", id, error)
                self._background.start(self._end_later(id), "ending a cancelled job")
            failure = type(error)(f"the job has stopped, but that could not be recorded yet: {error}")
            self._unrecorded[id] = (failure, self._unrecorded.get(id, (failure, _now()))[1])
            self._notify()

    async def _end_later(self, id: str) -> None:
        while id in self._queue:
            await asyncio.sleep(PAUSE_S)
            await self._end_cancelled(id)

    async def _end(self, id: str, state: EndState, reason: str = "") -> None:
        """End a job. On a full disk the input is removed first, to make room; a retry of a failed job may
        need it.
        """
        try:
            await self._store.finish(id, state, reason)
        except StoreFull:
            if state == "failed":
                raise
            await self._inputs.remove(id)
            await self._store.finish(id, state, reason)
        try:
            await self._inputs.remove(id)
        except StoreError as error:  # the next start removes inputs that no job needs
            log.warning("the input of job %s is left: %s", id, error)
        await self._others.end(id)
        self._queue.remove(id)
        self._problems.pop(id, None)
        self._unrecorded.pop(id, None)
        self._notify()
        log.info("job %s is %s", id, state)
        try:
            await self._store.forget(MAX_ENDED)
        except StoreError as error:
            log.warning("jobs that ended long ago are still listed: %s", error)

    async def _found(self, id: str) -> Job:
        job = await self._store.find(id)
        if job is None:
            raise job_not_found(id)
        return job

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _as_seen(self, job: Job) -> Job:
        """The job as callers may see it.

        The end of a job is shown once it is cleaned up: its input is gone, and its collection free. An
        image is counted once it can be found, which is a moment after its row and outcome were committed.
        """
        if job.id not in self._queue:
            return job if job.has_ended else self._of_another(job)
        if self._visible is not None and self._visible.id == job.id:
            job = changed(job, counts=self._visible.counts)
        if job.id in self._unrecorded:
            error, stopped_at = self._unrecorded[job.id]
            return changed(job, state="cancelled", finished_at=stopped_at, reason=error.message)
        state: JobState = "running" if job.id == self._running else "queued"
        reason = self._problems.get(job.id) or self._queue.obstacle(job.id)
        return changed(job, state=state, finished_at=None, reason=reason)

    def _of_another(self, job: Job) -> Job:
        """A job of another server: it runs once an item is done, unless that server is gone."""
        if reason := self._others.obstacle(job.id):
            return changed(job, reason=reason)
        return changed(job, state="running") if job.counts else job


def job_not_found(id: str) -> NotFound:
    """The error for the id of no job, or of one that the caller may not know of: the two look alike."""
    return NotFound(f"no job {id[:80]!r}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
