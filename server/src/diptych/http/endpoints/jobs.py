"""`/jobs`: long adds, how far they are, what became of their items, and how to end them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from diptych.core.job import Job, JobOutcome, JobState
from diptych.core.jobs.service import Jobs
from diptych.core.types import AddStatus
from diptych.errors import InvalidValue
from diptych.http.context import context_of
from diptych.http.errors.documented_errors import GUARDED, Responses, refusals
from diptych.http.errors.problem_json import Problem, problem_of
from diptych.http.parsing import schemas
from diptych.http.parsing.limits import check_at_most
from diptych.http.parsing.request_models import NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, State

MAX_INDEX = 999_999_999  # of an item: far beyond any job, and within what the database takes


class _Events(RequestModel):
    """`GET` of the events of a job."""

    after: int = Field(-1, ge=-1, le=MAX_INDEX)


EventsQuery = Annotated[_Events, Query()]


class _Outcomes(_Events):
    """`GET` of the outcomes of a job."""

    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


OutcomesQuery = Annotated[_Outcomes, Query()]


class JobLinks(BaseModel):
    """Paths on this server."""

    self: str
    outcomes: str
    events: str


class JobResponse(BaseModel):
    """A long add. An item is acknowledged by its outcome, not by the job; `counts` tells of those."""

    id: str
    collection: str
    replace: bool
    state: JobState = Field(description='"failed": what concerned all items came in the way, see `reason`')
    n_items: int
    n_done: int
    counts: dict[AddStatus, int]
    created_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None
    reason: str = Field(description="why it failed, or does not get on; else empty")
    links: JobLinks

    @classmethod
    def of(cls, job: Job) -> "JobResponse":
        """The same, for the wire."""
        path = f"/jobs/{job.id}"
        links = JobLinks(self=path, outcomes=f"{path}/outcomes", events=f"{path}/events")
        statuses: tuple[AddStatus, ...] = ("created", "unchanged", "replaced", "failed")
        counts = {status: job.counts.get(status, 0) for status in statuses}
        return cls(**vars(job) | {"counts": counts}, n_done=job.n_done, links=links)


class JobList(BaseModel):
    """Jobs, the newest first. Of those that have ended, the last hundred are known."""

    jobs: list[JobResponse]


class JobOutcomeResponse(BaseModel):
    """What became of one image of a job. `file` is its name in the archive, null where there was none."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None
    file: str | None

    @classmethod
    def of(cls, outcome: JobOutcome, request_id: str) -> "JobOutcomeResponse":
        """The same, its error as a problem of the request that asks."""
        error = None if outcome.error is None else problem_of(outcome.error, request_id)
        return cls(**vars(outcome) | {"error": error})


class JobOutcomePage(BaseModel):
    """Some outcomes by index; `next` is the `after` of the page that follows, null when no more is known."""

    job: JobResponse
    outcomes: list[JobOutcomeResponse]
    next: int | None


router = APIRouter(tags=["jobs"], responses=refusals(*GUARDED))
_EVENTS = "text/event-stream"
_STREAM: Responses = {200: {"content": {_EVENTS: {"schema": {"type": "string"}}}}}


@router.get("/jobs", response_model=JobList)
async def list_jobs(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """All that are known, the newest first."""
    return json_response(request, JobList(jobs=[JobResponse.of(job) for job in await services.jobs.list()]))


@router.get("/jobs/{job}", response_model=JobResponse, responses=refusals(404))
async def get_job(request: Request, services: ReadyServices, job: str, _: NoQuery) -> Response:
    """How far one job is."""
    return json_response(request, JobResponse.of(await services.jobs.get(job)))


@router.delete("/jobs/{job}", response_model=JobResponse, responses=refusals(404, 507))
async def cancel_job(request: Request, services: ReadyServices, job: str, _: NoQuery) -> Response:
    """End a job: items that are done stay, the others are not tried. One that has ended stays as it is.

    507, or 503: it has stopped, but the disk does not take that yet; it is tried again.
    """
    return json_response(request, JobResponse.of(await services.jobs.cancel(job)))


@router.get("/jobs/{job}/outcomes", response_model=JobOutcomePage, responses=refusals(404, 422))
async def list_outcomes(
    request: Request, services: ReadyServices, options: Options, job: str, query: OutcomesQuery
) -> Response:
    """What became of the items behind index `after`, in their order, as far as it is known."""
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    found = await services.jobs.get(job)  # before the outcomes: when it has ended, they are all there
    outcomes = await services.jobs.outcomes(job, query.after, query.limit)
    request_id = context_of(request).request_id
    page = JobOutcomePage(
        job=JobResponse.of(found),
        outcomes=[JobOutcomeResponse.of(outcome, request_id) for outcome in outcomes],
        next=outcomes[-1].index if len(outcomes) == query.limit else None,
    )
    return json_response(request, page)


@router.get("/jobs/{job}/events", response_class=StreamingResponse, responses=_STREAM | refusals(404, 422))
async def follow_job(
    request: Request, services: ReadyServices, state: State, job: str, query: EventsQuery
) -> Response:
    """Server-sent events: `outcome` (its id is the item's index), `progress`, and `end` at last.

    Beginning behind `after`, or behind the `Last-Event-ID` of a caller that comes back.
    """
    seen = request.headers.get("last-event-id", "")
    if seen and not (seen.isascii() and seen.isdigit() and len(seen) <= len(str(MAX_INDEX))):
        raise InvalidValue("is not the id of an event", "Last-Event-ID")
    await services.jobs.get(job)  # a 404 before the stream begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type=_EVENTS)
    events = events_of(
        services.jobs,
        job,
        int(seen) if seen else query.after,
        context_of(request).request_id,
        lambda: state.inside.stopping,
    )
    return StreamingResponse(events, headers=headers, media_type=_EVENTS)


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
