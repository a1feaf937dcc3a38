"""`/jobs`: long adds, how far they are, what became of their items, and how to end them."""

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from diptych.errors import InvalidValue
from diptych.http.answers_jobs import JobList, JobOutcomePage, JobOutcomeResponse, JobResponse
from diptych.http.context import context_of
from diptych.http.errors.documented_errors import GUARDED, Responses, refusals
from diptych.http.parsing.limits import check_at_most
from diptych.http.requests import MAX_INDEX, EventsQuery, NoQuery, OutcomesQuery
from diptych.http.respond import json_response
from diptych.http.sse import events_of
from diptych.http.state import Options, ReadyServices, State

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
