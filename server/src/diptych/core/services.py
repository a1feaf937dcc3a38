"""The parts of a running server that the HTTP layer calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from diptych.core.catalogue import Catalogue
from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.collections.service import Collections
from diptych.core.concurrency.task_set import TaskSet
from diptych.core.encoding.embedder import Embedder
from diptych.core.encoding.health import Health, HealthReport
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.fetching.image_urls import ImageUrls
from diptych.core.jobs.service import Jobs
from diptych.core.limits import Limits
from diptych.core.ports import Metrics
from diptych.core.push import Pushes
from diptych.core.types import ModelInfo
from diptych.errors import StoreUnavailable

log = logging.getLogger(__name__)

LAST_BATCH_S = 3.0

Upgrade = Callable[[], Awaitable[None]]  # moves a precision to a faster runtime


@dataclass(frozen=True)
class Services:
    """Everything that routes call. Built once by wiring, started on the event loop, closed at the stop.

    `model` and `embedder` serve requests. Collections and their queries use the pipeline that `pipelines` has
    for their precision, which may be the same. One class of many fields, so that routes get one object.
    """

    model: ModelInfo
    embedder: Embedder
    image_urls: ImageUrls
    classifier: LabelClassifier
    pipelines: PipelinePool
    collections: Collections
    jobs: Jobs
    catalogue: Catalogue
    pushes: Pushes
    health: Health
    metrics: Metrics
    limits: Limits
    started_at: datetime  # UTC
    upgrades: Sequence[Upgrade] = ()  # run one after the other, in the background
    background: TaskSet = field(default_factory=TaskSet)
    close_decoder: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Fill the indexes, start the canary, and continue jobs and embedding that had not ended."""
        await self.collections.open()
        await self.jobs.open()
        await self.health.start()
        if self.upgrades:
            self.background.start(self._upgrade(), "moving to another runtime")

    async def report(self) -> HealthReport:
        """Whether requests should come here: the encoders answer, and image files are within reach."""
        report = self.health.report()
        if not report.ready:
            return report
        try:
            await self.collections.require_files()
        except StoreUnavailable as error:
            return replace(report, ready=False, reason=error.message)
        return report

    async def _upgrade(self) -> None:
        for upgrade in self.upgrades:
            await upgrade()

    async def close(self) -> None:
        """Stop background work, finish writes that have begun, and fail whatever still waits with NotReady.

        A batch that takes long is not waited for: nobody needs it any more.
        """
        await self.background.close()
        await self.health.close()
        await self.jobs.close()
        self.close_decoder()
        await self.collections.close()
        try:
            async with asyncio.timeout(LAST_BATCH_S):
                await self.pipelines.close()
        except TimeoutError:
            log.info("a batch was still running when the server ended")
