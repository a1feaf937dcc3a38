"""Group single items into batches for one worker. Knows nothing of images, ONNX or HTTP."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from diptych.core.admission import Admission
from diptych.core.ports import EncoderName, Metrics
from diptych.core.types import Embedding, Embeddings, Outcome
from diptych.errors import DiptychError, EncoderFailed, NotReady, Overloaded

log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(eq=False)
class _Waiting(Generic[Item]):
    item: Item
    outcome: "asyncio.Future[Outcome]"
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Item]):
    """Runs `encode` on batches of what was submitted, one batch at a time, in a thread of its own.

    There is no timer: an item that finds the worker idle is encoded at once, and a batch forms while the
    worker is busy. Every item that was let in gets exactly one outcome: its row, or its own error. A batch
    that fails is rerun item by item, so that one bad item fails alone. Items whose waiter was cancelled are
    dropped before they cost anything. Order is first come, first served.
    """

    def __init__(
        self,
        name: EncoderName,
        encode: Callable[[Sequence[Item]], Embeddings],
        *,
        n_bytes: Callable[[Item], int],
        admission: Admission,
        max_batch_size: int,
        metrics: Metrics,
    ) -> None:
        """`encode` maps B items to (B, D) rows, and may raise; `n_bytes` is what one item weighs."""
        self._name: EncoderName = name
        self._encode = encode
        self._n_bytes = n_bytes
        self._admission = admission
        self._max_batch_size = max_batch_size
        self._metrics = metrics
        self._queue: deque[_Waiting[Item]] = deque()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"encode-{name}")
        self._batch: asyncio.Task[None] | None = None
        self._closed = False
        self.last_success_at: float | None = None  # time.monotonic()

    @property
    def max_items(self) -> int:
        """The most items that one `submit_many` may bring."""
        return self._admission.max_items

    async def submit(self, item: Item) -> Embedding:
        """One item -> its (D,) row. Raises Overloaded, NotReady, EncoderFailed."""
        (outcome,) = await self.submit_many([item])
        if isinstance(outcome, DiptychError):
            raise outcome
        return outcome

    async def submit_many(self, items: Sequence[Item]) -> list[Outcome]:
        """N items -> N outcomes in order. All are let in or none: raises Overloaded, TooLarge, NotReady."""
        if self._closed:
            raise NotReady("the server is stopping")
        if not items:
            return []
        try:
            with self._admission.hold(len(items), sum(map(self._n_bytes, items))):
                return await self._wait_for(items)
        except Overloaded:
            self._metrics.count_rejected("queue_full")
            raise

    async def close(self) -> None:
        """Let the running batch end, fail all that still waits with NotReady, and let go of the thread."""
        self._closed = True
        while self._queue:
            _settle(self._queue.popleft(), NotReady("the server is stopping"))
        if self._batch is not None:
            await asyncio.wait([self._batch])
        self._worker.shutdown(wait=False)

    async def _wait_for(self, items: Sequence[Item]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, loop.create_future()) for item in items]
        self._queue.extend(waiting)
        self._start_batch()
        try:
            return await asyncio.gather(*(one.outcome for one in waiting))
        except asyncio.CancelledError:
            self._queue = deque(one for one in self._queue if not one.outcome.done())
            raise
        finally:
            self._metrics.set_queue_items(self._name, len(self._queue))

    def _start_batch(self) -> None:
        if self._batch is None and (batch := self._take()):  # all that waited may have gone away
            self._batch = asyncio.get_running_loop().create_task(self._run_batch(batch))
        self._metrics.set_queue_items(self._name, len(self._queue))

    def _take(self) -> list[_Waiting[Item]]:
        batch: list[_Waiting[Item]] = []
        while self._queue and len(batch) < self._max_batch_size:
            one = self._queue.popleft()
            if not one.outcome.done():
                batch.append(one)
        return batch

    async def _run_batch(self, batch: list[_Waiting[Item]]) -> None:
        """Give every item of the batch its outcome, and start the next batch, come what may."""
        try:
            now = time.perf_counter()
            for one in batch:
                self._metrics.observe_stage("queue", now - one.since)
            await self._encode_batch(batch)
        except Exception:
            log.exception("the %s batcher failed", self._name)
        finally:
            for one in batch:
                _settle(one, EncoderFailed("the encoder did not answer"))
            self._batch = None
            self._start_batch()

    async def _encode_batch(self, batch: list[_Waiting[Item]]) -> None:
        try:
            rows = await self._call([one.item for one in batch])
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], _as_outcome(error, self._name))
                return
            log.warning("a batch of %d failed in the %s encoder, now one by one", len(batch), self._name)
            for one in batch:
                if not one.outcome.done():
                    await self._encode_batch([one])
            return
        for one, row in zip(batch, rows, strict=True):
            _settle(one, row)

    async def _call(self, items: list[Item]) -> Embeddings:
        """Encode in the worker thread; raises what the encoder does, or EncoderFailed for a wrong answer."""
        began = time.perf_counter()
        rows = await asyncio.get_running_loop().run_in_executor(self._worker, self._encode, items)
        seconds = time.perf_counter() - began
        _check_rows(rows, len(items))
        self._admission.measured(len(items), seconds)
        self._metrics.observe_batch(self._name, len(items))
        self._metrics.observe_stage("encode", seconds)
        self.last_success_at = time.monotonic()
        return rows


def _settle(one: _Waiting[Item], outcome: Outcome) -> None:
    if not one.outcome.done():
        one.outcome.set_result(outcome)


def _check_rows(rows: Embeddings, n_items: int) -> None:
    if rows.ndim != 2 or len(rows) != n_items:
        raise EncoderFailed(f"the encoder answered shape {rows.shape} to {n_items} items")
    if not np.isfinite(rows).all():
        raise EncoderFailed("the encoder answered numbers that are not finite")


def _as_outcome(error: Exception, name: EncoderName) -> DiptychError:
    if isinstance(error, DiptychError):
        return error
    log.error("the %s encoder raised", name, exc_info=error)
    return EncoderFailed(f"the {name} encoder failed on this item")
