"""Ask the encoder now and then whether it still answers; knows nothing of HTTP or of what the encoder is."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HealthReport:
    """Whether requests should come here. `reason` is empty when ready."""

    ready: bool
    reason: str
    canary_age_s: float | None  # since the last answer of the canary or of a batch; None before the first


class Health:
    """Runs `canary` every `period_s` in a thread of its own, so that it never waits in the queue.

    A round is skipped when a batch succeeded within the period: that is proof enough. Not ready before the
    first proof, while the canary fails, while it has not answered within `deadline_s`, and when closing.
    """

    def __init__(
        self,
        canary: Callable[[], object],
        *,
        last_success_at: Callable[[], float | None],
        period_s: float = 10.0,
        deadline_s: float = 60.0,
    ) -> None:
        """`canary` encodes one item and raises when it cannot; `last_success_at` is in time.monotonic()."""
        self._canary = canary
        self._last_batch_at = last_success_at
        self._period_s = period_s
        self._deadline_s = deadline_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="canary")
        self._task: asyncio.Task[None] | None = None
        self._canary_at: float | None = None
        self._began_at: float | None = None  # of the canary that is running now
        self._failure = "the encoder has not been asked yet"

    def report(self) -> HealthReport:
        """The state now, without asking the encoder."""
        proof = self._last_proof()
        age_s = None if proof is None else time.monotonic() - proof
        reason = self._failure
        if self._began_at is not None and time.monotonic() - self._began_at > self._deadline_s:
            reason = f"the encoder has not answered for {self._deadline_s:.0f} s"
        return HealthReport(not reason, reason, age_s)

    async def start(self) -> None:
        """Ask once, then keep asking in the background."""
        await self._ask()
        self._task = asyncio.create_task(self._keep_asking())

    async def close(self) -> None:
        """Stop asking; not ready from now on."""
        self._failure = "the server is stopping"
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            proof = self._last_batch_at()
            if proof is not None and time.monotonic() - proof < self._period_s:
                self._failure = ""
            else:
                await self._ask()

    async def _ask(self) -> None:
        self._began_at = time.monotonic()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._canary)
        except Exception as error:
            log.exception("the canary failed")
            self._failure = f"the canary failed: {type(error).__name__}"
        else:
            self._failure = ""
            self._canary_at = time.monotonic()
        self._began_at = None

    def _last_proof(self) -> float | None:
        proofs = [at for at in (self._canary_at, self._last_batch_at()) if at is not None]
        return max(proofs, default=None)
