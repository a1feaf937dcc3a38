"""What an operator and a supervisor ask: alive, ready, metrics, version."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from diptych import __version__
from diptych.errors import NotReady
from diptych.http.description import NO_KEY
from diptych.http.endpoints.references import ModelRef
from diptych.http.errors.documented_errors import GUARDED, Responses, refusals
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices, State


class Alive(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Requests will be answered. `canary_age_s`: seconds since the encoder last proved that it works.

    `n_without_precision`: collections whose own precision cannot be served; `/collections` says which, why.
    """

    ready: Literal[True] = True
    canary_age_s: float | None
    n_without_precision: int = 0


class ServerVersion(BaseModel):
    """What runs here. `model` is null while it loads."""

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str
    max_items: int
    max_add_items: int


router = APIRouter(tags=["operate"])
_LINES: Responses = {200: {"content": {"text/plain": {}}}}


@router.get("/healthz", response_model=Alive, openapi_extra=NO_KEY)
async def healthz(request: Request) -> Response:
    """The process answers; says nothing of the model."""
    return json_response(request, Alive())


@router.get("/readyz", response_model=Ready, responses=refusals(503), openapi_extra=NO_KEY)
async def readyz(request: Request, services: ReadyServices) -> Response:
    """200 when requests should come here; 503 with the reason while loading, while the canary fails, or
    while the folder of image files is gone.
    """
    report = await services.report()
    if not report.ready:
        raise NotReady(report.reason)
    n_without_precision = services.collections.n_without_precision
    ready = Ready(canary_age_s=report.canary_age_s, n_without_precision=n_without_precision)
    return json_response(request, ready)


@router.get("/metrics", response_class=Response, responses=_LINES | refusals(*GUARDED))
async def metrics(services: ReadyServices) -> Response:
    """Counts and times for Prometheus."""
    services.metrics.set_ready((await services.report()).ready)
    services.collections.report_metrics()
    payload, content_type = services.metrics.render()
    return Response(payload, media_type=content_type)


@router.get("/version", response_model=ServerVersion, responses=refusals(401, 403))
async def version(request: Request, state: State) -> Response:
    """What runs here, while it loads too."""
    services, options = state.services, state.options
    model = None if services is None else services.model
    return json_response(
        request,
        ServerVersion(
            version=__version__,
            model=None if model is None else ModelRef.of(model),
            provider=None if services is None else services.pipelines.for_requests.encoder.running().provider,
            embed_dim=None if model is None else model.embed_dim,
            default_collection=options.default_collection,
            max_items=options.limits.max_items,
            max_add_items=options.limits.max_add_items,
        ),
    )
