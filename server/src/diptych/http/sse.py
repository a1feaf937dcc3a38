"""Server-sent events of a job: what became of each item as it becomes known, and how far it is.

Knows no route.

WHATWG HTML, 9.2.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from diptych.core.job import Job, JobOutcome
from diptych.core.jobs.service import Jobs
from diptych.http.answers_jobs import JobOutcomeResponse, JobResponse

PAGE = 200  # outcomes in memory at a time
KEEP_ALIVE_S = 15.0  # silence after which proxies may hang up
LOOK_S = 1.0  # how often a stream that waits looks whether the server stops


async def events_of(
    jobs: Jobs, id: str, after: int, request_id: str, stopping: Callable[[], bool]
) -> AsyncIterator[str]:
    """`outcome` for each item behind index `after`, `progress` between them, `end` at last.

    The stream ends without `end` when the server stops: the caller comes back with the last id that it saw.
    """
    yield "retry: 1000\n\n"
    while not stopping():
        change = jobs.next_change()  # before the look, so that what comes after it is noticed
        job = await jobs.get(id)
        outcomes = await jobs.outcomes(id, after, PAGE)
        for outcome in outcomes:
            yield _outcome(outcome, request_id)
        if outcomes:
            after = outcomes[-1].index
        if len(outcomes) == PAGE:
            continue
        if job.has_ended:
            yield _of_job("end", job)
            return
        yield _of_job("progress", job)
        async for _ in _silence(change, stopping):
            yield ": still here\n\n"


async def _silence(change: asyncio.Event, stopping: Callable[[], bool]) -> AsyncIterator[None]:
    """Until something changes; once for every KEEP_ALIVE_S of it."""
    waited_s = 0.0
    while not (change.is_set() or stopping()):
        try:
            await asyncio.wait_for(change.wait(), LOOK_S)
        except TimeoutError:
            waited_s += LOOK_S
            if waited_s >= KEEP_ALIVE_S:
                waited_s = 0.0
                yield


def _outcome(outcome: JobOutcome, request_id: str) -> str:
    data = JobOutcomeResponse.of(outcome, request_id).model_dump_json()
    return f"id: {outcome.index}\nevent: outcome\ndata: {data}\n\n"


def _of_job(event: str, job: Job) -> str:
    return f"event: {event}\ndata: {JobResponse.of(job).model_dump_json()}\n\n"
