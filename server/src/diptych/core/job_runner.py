"""Add the items of one job, batch by batch; knows nothing of other jobs, HTTP, SQL or files."""

import asyncio
from collections.abc import Callable, Sequence

from diptych.core.collections import Collections
from diptych.core.job import Job, JobItem, JobOutcome
from diptych.core.job_ports import JobInputs, JobStore
from diptych.core.types import AddOutcome, NewImage
from diptych.errors import Overloaded, TooLarge

MAX_BATCH = 16  # small, so that requests find room in the queue beside it
MAX_BATCH_BYTES = 32_000_000


class JobRunner:
    """What has an outcome on the disk is never tried again; what has none is."""

    def __init__(
        self, *, collections: Collections, store: JobStore, inputs: JobInputs, max_batch: int = MAX_BATCH
    ) -> None:
        self._collections = collections
        self._store = store
        self._inputs = inputs
        self._max_batch = max_batch

    async def run(self, job: Job, stopped: Callable[[], bool], progressed: Callable[[], None]) -> None:
        """Until every item has its outcome, or `stopped` says so; `progressed` hears of each batch.

        Raises what concerns all items: NotFound or Conflict of the collection, CorruptStore when the input is
        gone, StoreError, NotReady when the server stops.
        """
        while not stopped():
            batch = _within(await self._store.todo(job.id, self._max_batch))
            if not batch:
                return
            outcomes = await self._outcomes(job, batch, stopped)
            if outcomes:
                await self._store.record(job.id, outcomes)
                progressed()

    async def _outcomes(
        self, job: Job, batch: Sequence[JobItem], stopped: Callable[[], bool]
    ) -> list[JobOutcome]:
        """Empty when it was stopped before they were tried."""
        good = [item for item in batch if item.error is None]
        payloads = await self._inputs.read(job.id, [(item.offset, item.n_bytes) for item in good])
        images = [
            NewImage(payload, item.id, item.metadata) for item, payload in zip(good, payloads, strict=True)
        ]
        added = await self._add(job, images, stopped)
        if len(added) < len(good):
            return []
        became = {item.number: outcome for item, outcome in zip(good, added, strict=True)}
        return [_outcome(item, became.get(item.number)) for item in batch]

    async def _add(
        self, job: Job, images: Sequence[NewImage], stopped: Callable[[], bool]
    ) -> list[AddOutcome]:
        """Requests come first: while the queue is full, wait. What can never fit at once goes one by one."""
        while images and not stopped():
            try:
                added = await self._collections.add_many(job.collection, images, replace=job.replace)
                return added.outcomes
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                if len(images) == 1:
                    return [AddOutcome(0, images[0].id, "failed", error)]
                return [one for image in images for one in await self._add(job, [image], stopped)]
        return []


def _within(items: Sequence[JobItem]) -> list[JobItem]:
    """The first of them, as many as may be in memory together."""
    batch: list[JobItem] = []
    n_bytes = 0
    for item in items:
        n_bytes += item.n_bytes
        if batch and n_bytes > MAX_BATCH_BYTES:
            break
        batch.append(item)
    return batch


def _outcome(item: JobItem, added: AddOutcome | None) -> JobOutcome:
    if added is None:
        return JobOutcome(item.number, item.id, "failed", item.error, item.file)
    return JobOutcome(item.number, added.id, added.status, added.error, item.file)
