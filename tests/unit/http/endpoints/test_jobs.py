"""The stream of a job's events."""

import asyncio
from typing import cast

import pytest

from diptych.core.job import Job, JobOutcome
from diptych.core.jobs.service import Jobs, job_not_found
from diptych.http.endpoints import jobs as jobs_endpoint
from diptych.http.endpoints.jobs import job_events

JOB = Job("a" * 32, "pets", False, "running", 2, "2026-03-02T09:31:00.000+00:00")


class ForgettingJobs:
    """Knows a job until something changes."""

    def __init__(self) -> None:
        self.change = asyncio.Event()

    def next_change(self) -> asyncio.Event:
        return self.change

    async def get(self, id: str) -> Job:
        if self.change.is_set():
            raise job_not_found(id)
        return JOB

    async def outcomes(self, id: str, after: int, limit: int) -> list[JobOutcome]:
        return []


def test_events_of_a_job_that_is_forgotten_end_without_an_error() -> None:
    async def follow() -> list[str]:
        jobs, seen = ForgettingJobs(), []
        async for event in job_events(cast(Jobs, jobs), JOB.id, -1, "request", lambda: False):
            seen.append(event.splitlines()[0])
            if event.startswith("event: progress"):
                jobs.change.set()
        return seen

    assert asyncio.run(follow()) == ["retry: 1000", "event: progress"]


def test_events_end_when_the_server_stops_although_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_endpoint, "POLL_S", 0.001)

    async def follow() -> list[str]:
        jobs, seen = ForgettingJobs(), list[str]()
        events = job_events(cast(Jobs, jobs), JOB.id, -1, "request", lambda: "event: progress" in seen)
        async for event in events:
            seen.append(event.splitlines()[0])
        return seen

    assert asyncio.run(follow()) == ["retry: 1000", "event: progress"]
