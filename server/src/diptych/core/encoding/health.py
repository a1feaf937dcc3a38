"""Check regularly that the encoders still answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from diptych.bundle.encoder import OnStart
from diptych.core.concurrency.deadline_executor import STOP_WITHIN_S, DeadlineExecutor, Stuck

log = logging.getLogger(__name__)

PERIOD_S = 10.0


@dataclass(frozen=True)
class HealthReport:
    """Whether requests should come to this server. `reason` is empty when ready."""

    ready: bool
    reason: str
    canary_age_s: float | None  # since the canary or a batch last succeeded; None before the first time


class Health:
    """Runs `canary` every `period_s` in its own thread, so that it never waits in the queue.

    A round is skipped when a batch has succeeded within the period and none has failed since: that is proof
    enough. Not ready before the first proof, while the canary fails, while the canary or a batch is past its
    deadline, and when closing. One item that always fails does not make the server unready: the canary
    decides.
    """

    def __init__(
        self,
        canary: Callable[[OnStart], object],
        *,
        last_success_at: Callable[[], float | None],
        problem: Callable[[], str],
        timeout_s: Callable[[], float],
        on_stuck: Callable[[str], None],
        period_s: float = PERIOD_S,
        stop_within_s: float = STOP_WITHIN_S,
    ) -> None:
        """`canary` encodes an item with each encoder that has no recent proof, and raises when it cannot.

        `last_success_at` is in time.monotonic(), None when the last batch failed. `problem` says what is
        wrong with the batches now, or is empty. `timeout_s` is the time that all items may take now.
        `on_stuck` is called when a canary cannot be stopped.
        """
        self._canary = canary
        self._last_batch_at = last_success_at
        self._problem = problem
        self._on_stuck = on_stuck
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._executor = DeadlineExecutor("canary", 1, timeout_s=timeout_s(), stop_within_s=stop_within_s)
        self._task: asyncio.Task[None] | None = None
        self._canary_at: float | None = None
        self._failure = "the encoder has not been asked yet"

    def report(self) -> HealthReport:
        """Return the current state without asking the encoder."""
        proof = self._last_proof()
        age_s = None if proof is None else time.monotonic() - proof
        reason = self._failure or self._problem() or self._executor.problem
        return HealthReport(not reason, reason, age_s)

    async def start(self) -> None:
        """Run the canary once, then keep running it in the background."""
        await self._ask()
        self._task = asyncio.create_task(self._keep_asking())

    async def close(self) -> None:
        """Stop running the canary; not ready from now on."""
        self._failure = "the server is stopping"
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._executor.close()

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            proof = self._last_batch_at()
            if proof is not None and time.monotonic() - proof < self._period_s:
                self._failure = ""
            else:
                await self._ask()

    async def _ask(self) -> None:
        self._executor.timeout_s = self._timeout_s()
        try:
            await self._executor.start(self._canary)
        except Stuck:
            log.error("the canary hangs and cannot be stopped")
            self._on_stuck(self._executor.problem)
        except Exception as error:
            log.exception("the canary failed")
            self._failure = f"the canary failed: {type(error).__name__}"
        else:
            self._failure = ""
            self._canary_at = time.monotonic()

    def _last_proof(self) -> float | None:
        proofs = [at for at in (self._canary_at, self._last_batch_at()) if at is not None]
        return max(proofs, default=None)
