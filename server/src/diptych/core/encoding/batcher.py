"""Group single items into batches for an encoder."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from itertools import pairwise
from operator import itemgetter
from typing import Any, Generic, TypeVar

from diptych.core.concurrency.deadline_executor import STOP_WITHIN_S, DeadlineExecutor, Stuck
from diptych.core.concurrency.fair_queue import FairQueue, Tenant, current_tenant
from diptych.core.encoding.batch_runner import Batch, BatchRunner, Encode, Submission, settle_all
from diptych.core.ports import EncoderName, Metrics
from diptych.core.types import Embedding, Outcome
from diptych.errors import DiptychError, EncoderFailed, NotReady

log = logging.getLogger(__name__)

STOPPING = "the server is stopping"

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item")

SORTED_BATCHES = 3  # sorted together; saves two thirds of the padding that sorting the whole queue would save


class BatchQueue(Generic[Owner, Item]):
    """A queue in which tenants, and the owners of a tenant, take turns, one item each (see FairQueue).

    So neither a thousand items of one owner nor a thousand owners of one tenant starve others.

    A batch is padded to its largest item, so where `size_of` gives items a size, items of similar size should
    share a batch. Then owners give their smallest items first. Up to SORTED_BATCHES batches' worth is taken
    in turns, sorted by size, and cut into batches, smallest first. A draw delays the items in it, and those
    after it, by at most SORTED_BATCHES - 1 batches: nobody starves, whatever sizes others bring.
    """

    def __init__(self, max_batch_size: int, size_of: Callable[[Item], int] | None = None) -> None:
        self._max_batch_size = max_batch_size
        self._size_of = size_of
        is_padded = size_of is not None and max_batch_size > 1  # an item that is alone needs no padding
        self._n_to_draw = max_batch_size * (SORTED_BATCHES if is_padded else 1)
        self._waiting: FairQueue[Owner, tuple[int, int]] = FairQueue()  # size and index of each item
        self._next: deque[list[tuple[Owner, int]]] = deque()  # batches, of owners and indices

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._next))

    def push(self, owner: Owner, items: Sequence[Item], tenant: Tenant = "") -> None:
        """Add all items of one owner, who must not be waiting already."""
        if self._size_of is None:
            self._waiting.push(owner, ((0, index) for index in range(len(items))), tenant)
        else:
            by_size = sorted(zip(map(self._size_of, items), range(len(items)), strict=True))
            self._waiting.push(owner, by_size, tenant)

    def take(self) -> list[tuple[Owner, int]]:
        """Return the next batch as owners and indices of their items; empty when nothing waits."""
        if not self._next:
            self._draw()
        return self._next.popleft() if self._next else []

    def drop(self, owner: Owner) -> None:
        """Forget the remaining items of this owner, if there are any."""
        self._waiting.drop(owner)
        left = ([one for one in batch if one[0] is not owner] for batch in self._next)
        self._next = deque(filter(None, left))

    def _draw(self) -> None:
        drawn = self._waiting.take(self._n_to_draw)
        n_batches = -(-len(drawn) // self._max_batch_size)
        if n_batches > 1:
            drawn.sort(key=itemgetter(1))  # by size, then by index
        one_by_one = [(owner, index) for owner, (_, index) in drawn]
        ends = [len(drawn) * n // n_batches for n in range(n_batches + 1)] if drawn else [0]
        self._next.extend(one_by_one[begin:end] for begin, end in pairwise(ends))


class Batcher(Generic[Item]):
    """Runs an encoder on batches of submitted items, `n_workers` batches at once, each in its own thread.

    There is no timer: an item that finds an idle worker is encoded at once, and batches form while all
    workers are busy, in turns of the keys and of their requests (see BatchQueue). Several workers of one
    thread each have a higher throughput than one worker of many threads, which wait for each other within
    every layer; but a batch that has the machine to itself is done sooner with all threads. So a batch that
    runs alone goes to `encode`, and batches that run at the same time go to `encode_parallel`.

    Every admitted item gets exactly one outcome: its row, or its own error. Items whose waiter was cancelled
    are dropped before they cost anything. A call that hangs is stopped and fails; if it cannot be stopped,
    `on_stuck` is called with the reason, and all waiting and later items get NotReady.
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

        `encode_parallel` does the same, from several threads at once; the default is `encode`. `timeout_s`
        and `stop_within_s` are passed to DeadlineExecutor.

        Many parameters, since a batcher knows neither settings nor models: each is one bound or one callback.
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
        self._n_reported: int | None = None  # waiting items, as last reported to the metrics

    @property
    def last_success_at(self) -> float | None:
        """The time.monotonic() of the last success; None before the first, and after a call that failed."""
        return self._runner.last_success_at

    @property
    def problem(self) -> str:
        """Why requests should not come now: a call hangs. Empty if all is well."""
        return self._runner.problem

    async def submit(self, item: Item) -> Embedding:
        """Encode one item to its (D,) row. Raises NotReady, EncoderFailed."""
        (outcome,) = await self.submit_many([item])
        if isinstance(outcome, DiptychError):
            raise outcome
        return outcome

    async def submit_many(self, items: Sequence[Item]) -> list[Outcome]:
        """Encode N items and return N outcomes in order. Raises NotReady for all of them."""
        if self._runner.refusal:
            raise NotReady(self._runner.refusal)
        if not items:
            return []
        return await self._wait_for(items)

    async def close(self) -> None:
        """Let running batches end, fail all waiting items with NotReady, and shut the threads down.

        If this is cancelled while a call is past its deadline, that call counts as stuck.
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
        self._queue.push(submission, items, current_tenant())
        self._start_batches()
        try:
            return await submission.outcomes()
        finally:
            self._queue.drop(submission)  # some items are left if this was cancelled
            self._report_queue()

    def _start_batches(self) -> None:
        while len(self._running) < self._n_workers and (batch := self._take()):
            is_alone = not self._running and not len(self._queue)
            encode = self._encode if is_alone else self._encode_parallel
            task = asyncio.get_running_loop().create_task(
                self._finish(batch, self._runner.start(batch, encode)),
                context=Context(),  # not that of the request that happens to start it: a batch serves many
            )
            self._running.add(task)
        self._report_queue()

    def _report_queue(self) -> None:
        n_waiting = len(self._queue)
        if n_waiting != self._n_reported:
            self._metrics.add_queue_items(self._name, n_waiting - (self._n_reported or 0))
            self._n_reported = n_waiting

    def _take(self) -> Batch[Item]:
        """The next batch, without items whose waiter has just gone away; empty when nothing waits."""
        while taken := self._queue.take():
            if batch := [one for one in taken if one[0].is_waited_for]:
                return batch
        return []

    async def _finish(self, batch: Batch[Item], running: Coroutine[Any, Any, None]) -> None:
        """Give every item of the batch its outcome and start the next batch, whatever happens."""
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
        """Fail all waiting items, and refuse all later ones."""
        self._runner.refusal = reason
        while batch := self._queue.take():
            settle_all(batch, NotReady(reason))
