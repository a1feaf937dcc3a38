"""Jobs over the real adapters and the tiny model, without HTTP."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from diptych.core.job import Job, JobItem
from diptych.core.jobs.service import Jobs
from integration.store_parts import Opened, stories, tiny_png
from support.tiny_bundle import TINY
from unit.core.core_fakes import FakeMetrics

JobStory = Callable[[Opened, Jobs], Coroutine[Any, Any, None]]


class RunJobs(Protocol):
    """Opens a data folder with its jobs, runs a story over it and closes it."""

    def __call__(
        self,
        story: JobStory,
        *,
        max_batch: int = 2,
        model: str = TINY,
        before: Callable[[Opened], None] = lambda opened: None,
    ) -> None: ...


def job_stories(model_repo: Path, data_dir: Path, metrics: FakeMetrics | None = None) -> RunJobs:
    """Return a runner of stories with jobs.

    After a story, running jobs stop without writing anything, as at a kill.
    """
    run = stories(model_repo, data_dir)

    def run_story(
        story: JobStory,
        *,
        max_batch: int = 2,
        model: str = TINY,
        before: Callable[[Opened], None] = lambda opened: None,
    ) -> None:
        async def whole(opened: Opened) -> None:
            await opened.jobs.open()
            try:
                await story(opened, opened.jobs)
            finally:
                await opened.jobs.close()

        run(whole, model=model, before=before, max_batch=max_batch, metrics=metrics)

    return run_story


class Gate:
    """Holds back each add until a permit is released."""

    def __init__(self, opened: Opened) -> None:
        self.permits = asyncio.Semaphore(0)
        self.n_waiting = 0
        self._add = opened.collections.add_many
        opened.collections.add_many = self.add_many  # type: ignore[method-assign]

    async def add_many(self, *args: Any, **options: Any) -> Any:
        self.n_waiting += 1
        await self.permits.acquire()
        self.n_waiting -= 1
        return await self._add(*args, **options)


async def submit(running: Jobs, n: int, first: int = 0, collection: str = "default", **options: Any) -> Job:
    """Submit a job of `n` images, numbered from `first`."""
    async with running.receiving() as job_input:
        items = []
        for i in range(first, first + n):
            payload = tiny_png(i)
            items.append(JobItem(i - first, job_input.n_bytes, len(payload), f"i{i:02}", {"n": i}))
            await job_input.write(payload)
        return await running.submit(job_input, collection, items, **{"replace": False} | options)


async def once(running: Jobs, id: str, condition: Callable[[Job], bool]) -> Job:
    """Wait until the condition holds; return the job at that moment."""
    async with asyncio.timeout(20):
        while True:
            change = running.next_change()
            job = await running.get(id)
            if condition(job):
                return job
            await change.wait()


async def end_of(running: Jobs, id: str) -> Job:
    """Wait until the job has ended; return it."""
    return await once(running, id, lambda job: job.has_ended)


async def until_done(running: Jobs, id: str, n_done: int) -> None:
    """Wait until the job has done at least `n_done` items."""
    await once(running, id, lambda job: job.n_done >= n_done)


async def stalled_job(running: Jobs, id: str) -> Job:
    """Wait until the job gives a reason for making no progress; return it."""
    return await once(running, id, lambda job: job.reason != "")
