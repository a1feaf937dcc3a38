"""`/jobs`: adds that run in the background: progress, outcomes, server-sent events, cancelling."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from diptych.core.job import Job, JobOutcome, JobState
from diptych.core.jobs.service import Jobs, job_not_found
from diptych.core.services import Services
from diptych.core.types import AddStatus
from diptych.errors import InvalidValue, NotFound
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.context import context_of
from diptych.http.endpoints.add_models import METADATA_DIFFERS
from diptych.http.errors.documented_errors import COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.problem_json import Problem, problem_of
from diptych.http.parsing import schemas
from diptych.http.parsing.limits import check_at_most
from diptych.http.parsing.request_models import NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, State

PAGE_SIZE = 200  # outcomes in memory at once
KEEP_ALIVE_S = 15.0  # proxies may close a connection that is silent for longer
POLL_S = 1.0  # how often a waiting stream checks whether the server stops
MAX_INDEX = 999_999_999  # of an item: more than any job has, and within the range of the database


class _EventsParameters(RequestModel):
    """`GET` of the events of a job."""

    after: int = Field(-1, ge=-1, le=MAX_INDEX)


EventsQuery = Annotated[_EventsParameters, Query()]


class _OutcomesParameters(_EventsParameters):
    """`GET` of the outcomes of a job."""

    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


OutcomesQuery = Annotated[_OutcomesParameters, Query()]


class JobLinks(BaseModel):
    """Paths of the job on this server."""

    self: str
    outcomes: str
    events: str


_EXAMPLE = {
    "id": "3f9a0c71d2b84e65a1f0c9d8e7b6a594",
    "collection": "gallery",
    "replace": False,
    "state": "running",
    "n_items": 1200,
    "n_done": 301,
    "counts": {"created": 300, "unchanged": 0, "replaced": 0, "failed": 1},
    "created_at": "2026-03-02T09:31:00.000+00:00",
    "finished_at": None,
    "reason": "",
    "links": {
        "self": "/jobs/3f9a0c71d2b84e65a1f0c9d8e7b6a594",
        "outcomes": "/jobs/3f9a0c71d2b84e65a1f0c9d8e7b6a594/outcomes",
        "events": "/jobs/3f9a0c71d2b84e65a1f0c9d8e7b6a594/events",
    },
}


class JobResponse(BaseModel):
    """An add that runs in the background.

    An outcome, not the job, acknowledges an item; `counts` counts them.
    """

    model_config = ConfigDict(json_schema_extra=schemas.example(_EXAMPLE))

    id: str
    collection: str = Field(
        description='"NAME (dropped)" once another collection has the name of one that was dropped'
    )
    replace: bool
    state: JobState = Field(description='"failed": an error that concerns all items ended it, see `reason`')
    n_items: int
    n_done: int
    counts: dict[AddStatus, int]
    created_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None
    reason: str = Field(description="why it failed, or waits; else empty")
    links: JobLinks

    @classmethod
    def of(cls, job: Job) -> "JobResponse":
        """Convert the domain object."""
        path = f"/jobs/{job.id}"
        links = JobLinks(self=path, outcomes=f"{path}/outcomes", events=f"{path}/events")
        statuses: tuple[AddStatus, ...] = ("created", "unchanged", "replaced", "failed")
        counts = {status: job.counts.get(status, 0) for status in statuses}
        return cls(**vars(job) | {"counts": counts}, n_done=job.n_done, links=links)


class JobList(BaseModel):
    """Jobs, newest first. A hundred that have ended are kept: the newest of each collection first."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"jobs": [_EXAMPLE]}))

    jobs: list[JobResponse]


class JobOutcomeResponse(BaseModel):
    """The outcome of one image of a job. `file` is its name in the archive, null for a form."""

    index: int
    id: str | None
    status: AddStatus
    error: Problem | None
    file: str | None
    metadata_differs: bool = METADATA_DIFFERS

    @classmethod
    def of(cls, outcome: JobOutcome, request_id: str) -> "JobOutcomeResponse":
        """Convert the domain object. Its error becomes a problem with the id of the current request."""
        error = None if outcome.error is None else problem_of(outcome.error, request_id)
        return cls(**vars(outcome) | {"error": error})


class JobOutcomePage(BaseModel):
    """A page of outcomes by index. `next` is the `after` of the next page; null if there are no more yet."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "job": _EXAMPLE,
                "outcomes": [
                    {
                        "index": 0,
                        "id": "cat",
                        "status": "created",
                        "error": None,
                        "file": "pets/cat.jpg",
                        "metadata_differs": False,
                    }
                ],
                "next": 0,
            }
        )
    )

    job: JobResponse
    outcomes: list[JobOutcomeResponse]
    next: int | None


router = APIRouter(tags=["jobs"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_EVENTS = "text/event-stream"
_EVENT: schemas.Schema = {
    "type": "object",
    "properties": {"event": schemas.STRING, "id": schemas.STRING, "data": schemas.STRING},
    "required": ["data"],
}
_EXAMPLE_EVENT = (
    'id: 0\nevent: outcome\ndata: {"index": 0, "id": "cat", "status": "created", "error": null, '
    '"file": "pets/cat.jpg", "metadata_differs": false}\n\n'
)
# `itemSchema` describes each event of a stream, as in OpenAPI 3.2.
_STREAM: Responses = {200: {"content": {_EVENTS: {"itemSchema": _EVENT, "example": _EXAMPLE_EVENT}}}}


@router.get("/jobs", summary="List jobs", response_model=JobList)
@needs("read", collections="chosen")
async def list_jobs(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """List all jobs of the collections that the key sees, newest first."""
    caller = caller_of(request)
    found = [JobResponse.of(job) for job in await services.jobs.list() if caller.sees(job.collection)]
    return json_response(request, JobList(jobs=found))


@router.get(
    "/jobs/{job}",
    summary="Get the progress of a job",
    response_model=JobResponse,
    responses=documented_errors(404),
)
@needs("read", collections="chosen")
async def get_job(request: Request, services: ReadyServices, job: str, _: NoQuery) -> Response:
    """The progress of one job."""
    return json_response(request, JobResponse.of(await _seen_job(request, services, job)))


@router.delete(
    "/jobs/{job}", summary="Cancel a job", response_model=JobResponse, responses=documented_errors(404, 507)
)
@needs("write", collections="chosen")
async def cancel_job(request: Request, services: ReadyServices, job: str, _: NoQuery) -> Response:
    """Cancel a job: completed items stay, the others are not tried. A job that has ended does not change.

    507 or 503: the job has stopped, but the disk cannot record that yet; the server tries again.
    """
    await _seen_job(request, services, job)
    return json_response(request, JobResponse.of(await services.jobs.cancel(job)))


@router.get(
    "/jobs/{job}/outcomes",
    summary="List the outcomes of a job",
    response_model=JobOutcomePage,
    responses=documented_errors(404, 422),
)
@needs("read", collections="chosen")
async def list_outcomes(
    request: Request, services: ReadyServices, options: Options, job: str, query: OutcomesQuery
) -> Response:
    """List the outcomes of the items after index `after`, in order, as far as they are known."""
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    found = await _seen_job(
        request, services, job
    )  # read before the outcomes: if the job has ended, they are complete
    outcomes = await services.jobs.outcomes(job, query.after, query.limit)
    request_id = context_of(request).request_id
    page = JobOutcomePage(
        job=JobResponse.of(found),
        outcomes=[JobOutcomeResponse.of(outcome, request_id) for outcome in outcomes],
        next=outcomes[-1].index if len(outcomes) == query.limit else None,
    )
    return json_response(request, page)


@router.get(
    "/jobs/{job}/events",
    summary="Follow a job as events",
    response_class=StreamingResponse,
    responses=_STREAM | documented_errors(404, 422),
)
@needs("read", collections="chosen")
async def follow_job(
    request: Request, services: ReadyServices, state: State, job: str, query: EventsQuery
) -> Response:
    """Follow a job by server-sent events: `outcome` (its id is the item's index), `progress`, finally `end`.

    Starts after index `after`, or after the `Last-Event-ID` of a client that reconnects.
    """
    last_id = request.headers.get("last-event-id", "")
    if last_id and not (last_id.isascii() and last_id.isdigit() and len(last_id) <= len(str(MAX_INDEX))):
        raise InvalidValue("is not the id of an event", "Last-Event-ID")
    await _seen_job(request, services, job)  # a 404 before the stream begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type=_EVENTS)
    events = job_events(
        services.jobs,
        job,
        int(last_id) if last_id else query.after,
        context_of(request).request_id,
        lambda: state.in_flight.stopping,
    )
    return StreamingResponse(events, headers=headers, media_type=_EVENTS)


async def _seen_job(request: Request, services: Services, id: str) -> Job:
    """The job. Raises NotFound if there is none, or if the caller does not see its collection."""
    job = await services.jobs.get(id)
    if not caller_of(request).sees(job.collection):
        raise job_not_found(id)
    return job


async def job_events(
    jobs: Jobs, id: str, after: int, request_id: str, stopping: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield events (WHATWG HTML, 9.2): `outcome` of each item after index `after`, `progress`, finally `end`.

    The stream ends without `end` when the server stops: the client then reconnects with the last id it saw.
    So it does when the job is forgotten: the client then gets a 404.
    """
    yield "retry: 1000\n\n"
    while not stopping():
        change = jobs.next_change()  # obtained before reading, so that later changes are noticed
        try:
            job = await jobs.get(id)
        except NotFound:
            return
        outcomes = await jobs.outcomes(id, after, PAGE_SIZE)
        for outcome in outcomes:
            yield _outcome_event(outcome, request_id)
        if outcomes:
            after = outcomes[-1].index
        if len(outcomes) == PAGE_SIZE:
            continue
        if job.has_ended:
            yield _job_event("end", job)
            return
        yield _job_event("progress", job)
        async for _ in _keep_alive_ticks(change, stopping):
            yield ": still here\n\n"


async def _keep_alive_ticks(change: asyncio.Event, stopping: Callable[[], bool]) -> AsyncIterator[None]:
    """Wait for the change or the stop; yield once every KEEP_ALIVE_S meanwhile."""
    waited_s = 0.0
    while not (change.is_set() or stopping()):
        try:
            await asyncio.wait_for(change.wait(), POLL_S)
        except TimeoutError:
            waited_s += POLL_S
            if waited_s >= KEEP_ALIVE_S:
                waited_s = 0.0
                yield


def _outcome_event(outcome: JobOutcome, request_id: str) -> str:
    data = JobOutcomeResponse.of(outcome, request_id).model_dump_json()
    return f"id: {outcome.index}\nevent: outcome\ndata: {data}\n\n"


def _job_event(event: str, job: Job) -> str:
    return f"event: {event}\ndata: {JobResponse.of(job).model_dump_json()}\n\n"
