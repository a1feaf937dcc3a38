"""Group single items into batches for one worker. Knows nothing of images, ONNX or HTTP."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from diptych.core.concurrency.deadline_executor import STOP_WITHIN_S, DeadlineExecutor, Stuck
from diptych.core.encoding.batch_queue import BatchQueue
from diptych.core.encoding.batch_runner import Batch, BatchRunner, Encode, Submission, settle_all
from diptych.core.ports import EncoderName, Metrics
from diptych.core.types import Embedding, Outcome
from diptych.errors import DiptychError, EncoderFailed, NotReady

log = logging.getLogger(__name__)

Item = TypeVar("Item")

STOPPING = "the server is stopping"


class Batcher(Generic[Item]):
    """Runs encoders on batches of what was submitted, `n_lanes` batches side by side, each in its thread.

    There is no timer: an item that finds a lane idle is encoded at once, and a batch forms while all are
    busy, by turns of those who submitted (see BatchQueue). Lanes of one thread each do more together than
    one lane of many threads, which wait for each other within every layer; but a batch that has the machine
    to itself is done sooner by all threads. So a batch that is alone goes to `encode`, and those that are
    not to `encode_beside`.

    Every item that was let in gets exactly one outcome: its row, or its own error. Items whose waiter was
    cancelled are dropped before they cost anything. A call that hangs is stopped, and has failed; when it
    cannot be, `on_stuck` hears why, and all that waits or comes later gets NotReady.
    """

    def __init__(
        self,
        name: EncoderName,
        encode: Encode[Item],
        *,
        encode_parallel: Encode[Item] | None = None,
        n_workers: int = 1,
        size_of: Callable[[Item], int] | None = None,
        max_batch_size: int,
        embed_dim: int,
        timeout_s: float,
        metrics: Metrics,
        on_stuck: Callable[[str], None],
        stop_within_s: float = STOP_WITHIN_S,
    ) -> None:
        """`encode` maps B items to (B, D) rows of unit norm, and may raise.

        `encode_beside` does the same from several threads at once; `encode` is taken where it is not given.
        `timeout_s` and `stop_within_s` are those of Calls.
        """
        self._name: EncoderName = name
        self._encode = encode
        self._encode_parallel = encode_parallel or encode
        self._n_workers = n_workers
        self._metrics = metrics
        self._on_stuck = on_stuck
        self._queue: BatchQueue[Submission[Item], Item] = BatchQueue(max_batch_size, size_of)
        self._runner: BatchRunner[Item] = BatchRunner(
            name,
            DeadlineExecutor(f"encode-{name}", n_workers, timeout_s=timeout_s, stop_within_s=stop_within_s),
            embed_dim=embed_dim,
            metrics=metrics,
        )
        self._running: set[asyncio.Task[None]] = set()
        self._n_reported = -1  # items that wait, as the metrics have it

    @property
    def last_success_at(self) -> float | None:
        """In time.monotonic(); None before the first success, and when the last call failed."""
        return self._runner.last_success_at

    @property
    def problem(self) -> str:
        """Why no requests should come here now: a call hangs. Else empty."""
        return self._runner.problem

    async def submit(self, item: Item) -> Embedding:
        """One item -> its (D,) row. Raises NotReady, EncoderFailed."""
        (outcome,) = await self.submit_many([item])
        if isinstance(outcome, DiptychError):
            raise outcome
        return outcome

    async def submit_many(self, items: Sequence[Item]) -> list[Outcome]:
        """N items -> N outcomes in order. Raises NotReady for all of them."""
        if self._runner.refusal:
            raise NotReady(self._runner.refusal)
        if not items:
            return []
        return await self._wait_for(items)

    async def close(self) -> None:
        """Let the running batches end, fail all that still waits with NotReady, and let go of the threads.

        When it is cancelled while a call is past its deadline, that is as good as stuck.
        """
        self._refuse(self._runner.refusal or STOPPING)
        try:
            if self._running:
                await asyncio.wait(self._running)
        except asyncio.CancelledError:
            if self.problem:
                self._on_stuck(self.problem)
            raise
        finally:
            self._runner.close()

    async def _wait_for(self, items: Sequence[Item]) -> list[Outcome]:
        submission = Submission(items)
        self._queue.push(submission, items)
        self._start_batches()
        try:
            return await submission.outcomes()
        finally:
            self._queue.drop(submission)  # something is left of it when this was cancelled
            self._report_queue()

    def _start_batches(self) -> None:
        while len(self._running) < self._n_workers and (batch := self._take()):
            is_alone = not self._running and not len(self._queue)
            encode = self._encode if is_alone else self._encode_parallel
            task = asyncio.get_running_loop().create_task(
                self._finish(batch, self._runner.start(batch, encode)),
                context=Context(),  # not that of the request which happens to start it: a batch is of many
            )
            self._running.add(task)
        self._report_queue()

    def _report_queue(self) -> None:
        if len(self._queue) != self._n_reported:
            self._n_reported = len(self._queue)
            self._metrics.set_queue_items(self._name, self._n_reported)

    def _take(self) -> Batch[Item]:
        """The next batch, without items whose waiter went away this moment; empty when nothing waits."""
        while taken := self._queue.take():
            if batch := [one for one in taken if one[0].is_waited_for]:
                return batch
        return []

    async def _finish(self, batch: Batch[Item], running: Coroutine[Any, Any, None]) -> None:
        """Give every item of the batch its outcome, and start the next batch, come what may."""
        try:
            await running
        except Stuck:
            self._give_up(batch)
        except Exception:
            log.exception("the %s batcher failed", self._name)
        finally:
            settle_all(batch, EncoderFailed("the encoder did not answer"))
            task = asyncio.current_task()
            assert task is not None, "runs as a task"
            self._running.discard(task)
            self._start_batches()

    def _give_up(self, batch: Batch[Item]) -> None:
        log.error("%s, and cannot be stopped", self.problem)
        self._refuse(self.problem)
        settle_all(batch, NotReady(self.problem))
        self._on_stuck(self.problem)

    def _refuse(self, reason: str) -> None:
        """All that waits, and all that comes from now on."""
        self._runner.refusal = reason
        while batch := self._queue.take():
            settle_all(batch, NotReady(reason))
