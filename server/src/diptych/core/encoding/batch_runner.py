"""Encode one batch so that each of its items gets its own outcome."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from diptych.bundle.encoder import OnStart
from diptych.core.concurrency.deadline_executor import DeadlineExecutor, Stuck
from diptych.core.ports import EncoderName, Metrics, Stage
from diptych.core.timing import current_spans
from diptych.core.types import Embeddings, Outcome
from diptych.errors import DiptychError, EncoderFailed, NotReady

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Encode = Callable[[Sequence[Item], OnStart], Embeddings]  # B items -> (B, D), unless it fails


class Submission(Generic[Item]):
    """Items that were submitted together, and their outcomes.

    There is one future for all items: a thousand futures would cost more than the queue.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.since = time.perf_counter()
        self.spans = current_spans()  # of the request that submitted them, if any
        self._outcomes: dict[int, Outcome] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_waited_for(self) -> bool:
        """False once every item has an outcome, or the waiter was cancelled."""
        return not self._done.done()

    def settle(self, index: int, outcome: Outcome) -> None:
        """Set the outcome of an item; only the first one counts."""
        self._outcomes.setdefault(index, outcome)
        if len(self._outcomes) == len(self.items) and not self._done.done():
            self._done.set_result(None)

    def note(self, name: Stage, began: float, ended: float) -> None:
        """Record that some of the items went through a stage."""
        if self.spans is not None:
            self.spans.add(name, began, ended)

    async def outcomes(self) -> list[Outcome]:
        """Wait for all outcomes and return them in the order of the items."""
        await self._done
        return [self._outcomes[index] for index in range(len(self.items))]


Batch = list[tuple[Submission[Item], int]]  # submissions, and the indices of their items


class BatchRunner(Generic[Item]):
    """Runs batches in `executor`. A batch that fails is rerun item by item: a bad item fails alone."""

    def __init__(
        self, name: EncoderName, executor: DeadlineExecutor, *, embed_dim: int, metrics: Metrics
    ) -> None:
        self._name: EncoderName = name
        self._embed_dim = embed_dim
        self._metrics = metrics
        self._executor = executor
        self.refusal = ""  # why nothing is encoded any more, if so
        self.last_success_at: float | None = None  # time.monotonic(); None when the last call failed

    @property
    def problem(self) -> str:
        """Why requests should not come now: a call hangs. Empty if all is well."""
        return f"the {self._name} encoder hangs: {self._executor.problem}" if self._executor.problem else ""

    def start(self, batch: Batch[Item], encode: Encode[Item]) -> Coroutine[Any, Any, None]:
        """Submit the batch to a thread at once; await the returned coroutine until its items have their
        outcomes.

        The coroutine raises Stuck when a call cannot be stopped; some items then have no outcome.
        """
        return self._settle(batch, encode, time.perf_counter(), self._call(batch, encode))

    def close(self) -> None:
        """Accept no further batches."""
        self._executor.close()

    async def _settle(
        self, batch: Batch[Item], encode: Encode[Item], began: float, call: Coroutine[Any, Any, Embeddings]
    ) -> None:
        for submission, _ in batch:
            self._metrics.observe_stage("queue", began - submission.since)
            submission.note("queue", submission.since, began)
        try:
            rows = await call
        except Stuck:
            raise
        except Exception as error:
            await self._after_failure(batch, encode, error)
        else:
            for (submission, index), row in zip(batch, rows, strict=True):
                submission.settle(index, row)

    async def _after_failure(self, batch: Batch[Item], encode: Encode[Item], error: Exception) -> None:
        self.last_success_at = None
        if len(batch) == 1:
            settle_all(batch, _as_outcome(error, self._name))
            return
        log.warning("a batch of %d failed in the %s encoder, retrying one by one", len(batch), self._name)
        for submission, index in batch:
            if self.refusal:  # if every call hangs, trying all items would take minutes
                submission.settle(index, NotReady(self.refusal))
            elif submission.is_waited_for:
                await self._alone(submission, index, encode)

    async def _alone(self, submission: Submission[Item], index: int, encode: Encode[Item]) -> None:
        try:
            (row,) = await self._call([(submission, index)], encode)
        except Stuck:
            raise
        except Exception as error:
            self.last_success_at = None
            submission.settle(index, _as_outcome(error, self._name))
        else:
            submission.settle(index, row)

    def _call(self, batch: Batch[Item], encode: Encode[Item]) -> Coroutine[Any, Any, Embeddings]:
        """Encode in a thread. Awaiting raises the encoder's exception, or EncoderFailed for rows of a wrong
        shape.
        """
        items, began = [submission.items[index] for submission, index in batch], time.perf_counter()
        return self._rows(batch, began, self._executor.start(lambda on_start: encode(items, on_start)))

    async def _rows(
        self, batch: Batch[Item], began: float, call: Coroutine[Any, Any, Embeddings]
    ) -> Embeddings:
        rows = await call  # (B, D)
        ended = time.perf_counter()
        self._check(rows, len(batch))
        self._metrics.observe_batch(self._name, len(batch))
        self._metrics.observe_stage("encode", ended - began)
        for submission, _ in batch:
            submission.note("encode", began, ended)
        self.last_success_at = time.monotonic()
        return rows

    def _check(self, rows: Embeddings, n_items: int) -> None:
        if rows.shape != (n_items, self._embed_dim):
            expected = (n_items, self._embed_dim)
            raise EncoderFailed(f"the encoder answered shape {rows.shape}, not {expected}")


def settle_all(batch: Batch[Item], outcome: DiptychError) -> None:
    """Set the outcome of the items that have none yet."""
    for submission, index in batch:
        submission.settle(index, outcome)


def _as_outcome(error: Exception, name: EncoderName) -> DiptychError:
    if isinstance(error, DiptychError):
        return error
    log.error("the %s encoder raised", name, exc_info=error)
    return EncoderFailed(f"the {name} encoder failed on this item")
