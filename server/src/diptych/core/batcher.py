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
Encode = Callable[[Sequence[Item]], Embeddings]


@dataclass(eq=False)
class _Waiting(Generic[Item]):
    item: Item
    outcome: "asyncio.Future[Outcome]"
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Item]):
    """Runs encoders on batches of what was submitted, `n_lanes` batches side by side, each in its thread.

    There is no timer: an item that finds a lane idle is encoded at once, and a batch forms while all are
    busy. Lanes of one thread each do more together than one lane of many threads, which wait for each other
    within every layer; but a batch that has the machine to itself is done sooner by all threads. So a batch
    that is alone goes to `encode`, and those that are not to `encode_beside`.

    Every item that was let in gets exactly one outcome: its row, or its own error. A batch that fails is
    rerun item by item, so that one bad item fails alone. Items whose waiter was cancelled are dropped before
    they cost anything. The oldest item is always in the next batch; beside it go those that came first, or,
    where `size_of` says that items have sizes, those nearest in size, as a batch is padded to its largest.
    """

    def __init__(
        self,
        name: EncoderName,
        encode: Encode[Item],
        *,
        encode_beside: Encode[Item] | None = None,
        n_lanes: int = 1,
        size_of: Callable[[Item], int] | None = None,
        n_bytes: Callable[[Item], int],
        admission: Admission,
        max_batch_size: int,
        metrics: Metrics,
    ) -> None:
        """`encode` maps B items to (B, D) rows, and may raise; `n_bytes` is what one item weighs.

        `encode_beside` does the same from several threads at once; `encode` is taken where it is not given.
        """
        self._name: EncoderName = name
        self._encode = encode
        self._encode_beside = encode_beside or encode
        self._n_lanes = n_lanes
        self._size_of = size_of
        self._n_bytes = n_bytes
        self._admission = admission
        self._max_batch_size = max_batch_size
        self._metrics = metrics
        self._queue: deque[_Waiting[Item]] = deque()
        self._worker = ThreadPoolExecutor(max_workers=n_lanes, thread_name_prefix=f"encode-{name}")
        self._running: set[asyncio.Task[None]] = set()
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
        """Let the running batches end, fail all that still waits with NotReady, and let go of the threads."""
        self._closed = True
        while self._queue:
            _settle(self._queue.popleft(), NotReady("the server is stopping"))
        if self._running:
            await asyncio.wait(self._running)
        self._worker.shutdown(wait=False)

    async def _wait_for(self, items: Sequence[Item]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, loop.create_future()) for item in items]
        self._queue.extend(waiting)
        self._start_batches()
        try:
            return await asyncio.gather(*(one.outcome for one in waiting))
        except asyncio.CancelledError:
            self._queue = deque(one for one in self._queue if not one.outcome.done())
            raise
        finally:
            self._metrics.set_queue_items(self._name, len(self._queue))

    def _start_batches(self) -> None:
        while len(self._running) < self._n_lanes and (batch := self._take()):  # who waited may have gone
            is_alone = not self._running and not self._queue
            encode = self._encode if is_alone else self._encode_beside
            task = asyncio.get_running_loop().create_task(self._run_batch(batch, encode))
            self._running.add(task)
        self._metrics.set_queue_items(self._name, len(self._queue))

    def _take(self) -> list[_Waiting[Item]]:
        waiting = [one for one in self._queue if not one.outcome.done()]
        if self._size_of is not None and len(waiting) > self._max_batch_size:
            oldest, size_of = self._size_of(waiting[0].item), self._size_of
            waiting.sort(key=lambda one: abs(size_of(one.item) - oldest))  # stable: by age among equals
            batch = waiting[: self._max_batch_size]
            taken = set(batch)
            self._queue = deque(one for one in self._queue if one not in taken and not one.outcome.done())
            return batch
        self._queue = deque(waiting[self._max_batch_size :])
        return waiting[: self._max_batch_size]

    async def _run_batch(self, batch: list[_Waiting[Item]], encode: Encode[Item]) -> None:
        """Give every item of the batch its outcome, and start the next batch, come what may."""
        try:
            now = time.perf_counter()
            for one in batch:
                self._metrics.observe_stage("queue", now - one.since)
            await self._encode_batch(batch, encode)
        except Exception:
            log.exception("the %s batcher failed", self._name)
        finally:
            for one in batch:
                _settle(one, EncoderFailed("the encoder did not answer"))
            task = asyncio.current_task()
            assert task is not None, "runs as a task"
            self._running.discard(task)
            self._start_batches()

    async def _encode_batch(self, batch: list[_Waiting[Item]], encode: Encode[Item]) -> None:
        try:
            rows = await self._call([one.item for one in batch], encode)
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], _as_outcome(error, self._name))
                return
            log.warning("a batch of %d failed in the %s encoder, now one by one", len(batch), self._name)
            for one in batch:
                if not one.outcome.done():
                    await self._encode_batch([one], encode)
            return
        for one, row in zip(batch, rows, strict=True):
            _settle(one, row)

    async def _call(self, items: list[Item], encode: Encode[Item]) -> Embeddings:
        """Encode in a lane's thread; raises what the encoder does, or EncoderFailed for a wrong answer."""
        began = time.perf_counter()
        rows = await asyncio.get_running_loop().run_in_executor(self._worker, encode, items)
        seconds = time.perf_counter() - began
        _check_rows(rows, len(items))
        self._admission.measured(len(items), seconds / self._n_lanes)
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
