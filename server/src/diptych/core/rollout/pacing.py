"""Give way to requests while images are embedded in the background."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable

from diptych.core.encoding.pipeline import EncoderPipeline

RECENT_S = 0.5  # a client that sends one request after the other leaves gaps
STEP_S = 0.02


def are_busy(pipelines: Iterable[EncoderPipeline], ours: Collection[EncoderPipeline]) -> bool:
    """Whether requests use the pipelines now, or did a moment ago. `ours` do background work as well."""
    return any(_is_busy(pipeline, is_ours=pipeline in ours) for pipeline in pipelines)


def _is_busy(pipeline: EncoderPipeline, *, is_ours: bool) -> bool:
    if pipeline.embedder.n_in_work:
        return True
    times = [batcher.last_success_at for batcher in pipeline.batchers]
    return not is_ours and any(at is not None and time.monotonic() - at < RECENT_S for at in times)


class EncoderShare:
    """Takes at most a share of the time while requests come, and all of it while none do."""

    def __init__(self, share: float, is_busy: Callable[[], bool]) -> None:
        """`share` is between 0 (work only while no request comes) and 1."""
        self._share = share
        self._is_busy = is_busy

    async def pause(self, worked_s: float) -> None:
        """Wait until the work was the share of the time since it began, or no request is there."""
        await asyncio.sleep(0)
        until = time.monotonic() + worked_s * (1 / self._share - 1) if self._share else float("inf")
        while time.monotonic() < until and self._is_busy():  # noqa: ASYNC110 - requests set no event
            await asyncio.sleep(STEP_S)
