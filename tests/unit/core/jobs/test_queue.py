"""The order in which jobs of several keys run."""

import asyncio

import pytest

from diptych.core.job import Job
from diptych.core.jobs.queue import JobQueue
from diptych.errors import Conflict


def filled(*jobs: tuple[str, str]) -> JobQueue:
    """Jobs, each with its key. Collection `away` is not served."""

    def require_served(collection: str) -> None:
        if collection == "away":
            raise Conflict("away is not served")

    queue = JobQueue(require_served)
    for id, tenant in jobs:
        collection = "away" if id.startswith("away") else "pets"
        queue.put(Job(id, collection, False, "queued", 1, "2026-11-30T00:00:00.000+00:00"), tenant)
    return queue


def order_of(queue: JobQueue, n_jobs: int) -> list[str]:
    async def run() -> list[str]:
        found = []
        for _ in range(n_jobs):
            found.append(await queue.next())
            queue.remove(found[-1])
        return found

    return asyncio.run(run())


def test_keys_take_turns_and_the_jobs_of_one_run_in_their_order() -> None:
    queue = filled(("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b"))
    assert order_of(queue, 6) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_key_that_always_has_another_job_does_not_keep_others_waiting() -> None:
    queue = filled(("a1", "a"), ("b1", "b"), ("b2", "b"))
    assert order_of(queue, 1) == ["a1"]
    queue.put(Job("a2", "pets", False, "queued", 1, ""), "a")
    assert order_of(queue, 3) == ["b1", "a2", "b2"]


def test_job_that_cannot_run_costs_its_key_no_turn() -> None:
    queue = filled(("away1", "a"), ("b1", "b"), ("b2", "b"), ("a1", "a"))
    assert order_of(queue, 3) == ["b1", "a1", "b2"]


@pytest.mark.parametrize(("tenant", "n_jobs"), [("a", 2), ("b", 1), ("c", 0)])
def test_jobs_are_counted_by_key_until_they_are_removed(tenant: str, n_jobs: int) -> None:
    queue = filled(("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"))
    queue.remove("b2")
    assert queue.n_of(tenant) == n_jobs
