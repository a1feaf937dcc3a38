"""Add the items of one job, batch by batch."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from itertools import count

from diptych.core.collections.service import Collections
from diptych.core.job import Job, JobItem, JobNote, JobOutcome
from diptych.core.jobs.ports import JobInputs, JobStore
from diptych.core.types import AddOutcome, NewImage
from diptych.errors import Overloaded, TooLarge

MAX_BATCH = 16  # small, so that requests find room in the queue
MAX_BATCH_BYTES = 32_000_000

OnProgress = Callable[[Sequence[JobOutcome]], None]


class JobRunner:
    """Runs one job. An item with an outcome on disk is never tried again; an item without one is.

    Rows and outcomes of a batch are one commit: an image that the job has added has its outcome, and does not
    return after it is deleted. Outcomes come in the order of the items.
    """

    def __init__(
        self, *, collections: Collections, store: JobStore, inputs: JobInputs, max_batch: int = MAX_BATCH
    ) -> None:
        self._collections = collections
        self._store = store
        self._inputs = inputs
        self._max_batch = max_batch

    async def run(self, job: Job, on_progress: OnProgress) -> None:
        """Run until every item has its outcome; call `on_progress` with the outcomes of each batch.

        Raises errors that concern all items: NotFound or Conflict of the collection, CorruptStore when the
        input is gone, StoreError, NotReady when the server stops.
        """
        while True:
            batch = _within(await self._store.pending_items(job.id, self._max_batch))
            if not batch:
                return
            await self._add(job, batch, on_progress)

    async def _add(self, job: Job, batch: Sequence[JobItem], on_progress: OnProgress) -> None:
        """Add a batch while giving way to requests: wait while the queue is full; add items alone that never
        fit at once.
        """
        images = await self._images(job, batch)
        notes = _notes(job, batch)
        while True:
            try:
                added = await self._collections.add_many(
                    job.collection, images, replace=job.replace, notes=notes
                )
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_s)
            except TooLarge as error:
                for item in [changed(batch[0], error=error)] if len(batch) == 1 else batch:
                    await self._add(job, [item], on_progress)
                return
            else:
                on_progress(_outcomes(batch, added.outcomes))
                return

    async def _images(self, job: Job, batch: Sequence[JobItem]) -> list[NewImage]:
        """The images of the items that have no error yet."""
        good = [item for item in batch if item.error is None]
        payloads = await self._inputs.read(job.id, [(item.offset, item.n_bytes) for item in good])
        return [
            NewImage(payload, item.id, item.metadata) for item, payload in zip(good, payloads, strict=True)
        ]


def _within(items: Sequence[JobItem]) -> list[JobItem]:
    """The first items, as many as may be in memory together."""
    batch: list[JobItem] = []
    n_bytes = 0
    for item in items:
        n_bytes += item.n_bytes
        if batch and n_bytes > MAX_BATCH_BYTES:
            break
        batch.append(item)
    return batch


def _notes(job: Job, batch: Sequence[JobItem]) -> list[JobNote]:
    """Notes about all items, in order; a row is the number of an image, which items without an error have."""
    images = count()
    return [
        JobNote(job.id, item.number, outcome=AddOutcome(item.number, item.id, "failed", item.error))
        if item.error
        else JobNote(job.id, item.number, row=next(images))
        for item in batch
    ]


def _outcomes(batch: Sequence[JobItem], added: Sequence[AddOutcome]) -> list[JobOutcome]:
    """Outcomes of all items in order; `added` are those of the items that had no error."""
    rest = iter(added)
    return [
        _outcome(item, AddOutcome(item.number, item.id, "failed", item.error) if item.error else next(rest))
        for item in batch
    ]


def _outcome(item: JobItem, added: AddOutcome) -> JobOutcome:
    return JobOutcome(item.number, added.id, added.status, added.error, item.file, added.metadata_differs)
