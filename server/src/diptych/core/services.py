"""The parts of a running server that the HTTP layer calls."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from diptych.core.catalogue import Catalogue
from diptych.core.collections.service import Collections
from diptych.core.encoding.health import Health, HealthReport
from diptych.core.fetching.image_urls import ImageUrls
from diptych.core.jobs.service import Jobs
from diptych.core.labels.service import LabelSets
from diptych.core.libraries.service import Libraries
from diptych.core.limits import Limits
from diptych.core.ports import Metrics
from diptych.core.push import Pushes
from diptych.core.rollout.compare import Comparer
from diptych.core.rollout.service import Rollouts
from diptych.core.serving.snapshot import Serving
from diptych.core.serving.versions import Versions
from diptych.errors import StoreReadOnly, StoreUnavailable

log = logging.getLogger(__name__)

LAST_BATCH_S = 3.0


@dataclass(frozen=True)
class Services:
    """Everything that routes call. Built once by wiring, started on the event loop, closed at the stop.

    `serving` has the snapshot that requests use; `versions` are all that are loaded. With `read_only`,
    nothing is written: rollouts and jobs that had not ended stay as they are, unless other servers of the
    database go on with them. One class of many fields, so that routes get one object.
    """

    serving: Serving
    versions: Versions
    rollouts: Rollouts
    comparer: Comparer
    image_urls: ImageUrls
    collections: Collections
    label_sets: LabelSets
    libraries: Libraries
    jobs: Jobs
    catalogue: Catalogue
    pushes: Pushes
    health: Health
    metrics: Metrics
    limits: Limits
    started_at: datetime  # UTC
    close_decoder: Callable[[], None] = lambda: None
    read_only: bool = False

    async def start(self) -> None:
        """Fill the indexes, continue rollouts and jobs that had not ended, and start the canary."""
        await self.collections.open()
        if self.read_only:
            await self.rollouts.open_read_only()
            await self.jobs.open_read_only()
        else:
            await self.rollouts.open()
            await self.jobs.open()
            await self.libraries.open()
        await self.health.start()

    async def report(self) -> HealthReport:
        """Whether requests should come here: the encoders answer, and the data folder can be used."""
        report = self.health.report()
        if not report.ready:
            return report
        try:
            await self.collections.require_writable()
        except (StoreReadOnly, StoreUnavailable) as error:
            return replace(report, ready=False, reason=error.message)
        return report

    async def report_metrics(self) -> None:
        """Report what changes by itself: recalls of indexes, the rollout under way, the lag of a rollback.

        In an outage of the database rollouts are as they were.
        """
        await self.collections.report_metrics()
        try:
            status = await self.rollouts.status()
        except StoreUnavailable:
            return
        progress, previous = status.progress, status.previous
        self.metrics.set_rollout(
            0 if progress is None else progress.n_images, 0 if progress is None else progress.n_embedded
        )
        self.metrics.set_rollback_lag(0 if previous is None else previous.n_lagging)

    async def close(self) -> None:
        """Stop background work, finish writes that have begun, and fail whatever still waits with NotReady.

        Does not wait for a batch that takes long: its result is not needed any more.
        """
        await self.health.close()
        await self.libraries.close()
        await self.jobs.close()
        await self.rollouts.close()
        self.close_decoder()
        await self.collections.close()
        try:
            async with asyncio.timeout(LAST_BATCH_S):
                await self.versions.close()
        except TimeoutError:
            log.info("a batch was still running when the server ended")
