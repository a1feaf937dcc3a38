"""Liveness, readiness, metrics and version, for operators and supervisors."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych import __version__
from diptych.core.keys.key import ANYONE, SCOPES, Key, Scope
from diptych.errors import NotReady
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.description import NO_KEY
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.errors.documented_errors import COMMON_ERRORS, Responses, documented_errors
from diptych.http.parsing import schemas
from diptych.http.respond import json_response
from diptych.http.state import State


class Alive(BaseModel):
    """The process runs."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"status": "ok"}))

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The server accepts requests. `canary_age_s`: seconds since the encoder last passed its self-test."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"ready": True, "canary_age_s": 2.5}))

    ready: Literal[True] = True
    canary_age_s: float | None


class CallerResponse(BaseModel):
    """What the key of this request may do. `key` is its name; null where no key is needed."""

    key: str | None = Field(examples=["reading room"])
    scopes: list[Scope] = Field(description="all that it has: a key with `write` may read, too")
    collections: list[str] | None = Field(description="the only ones that it sees; null if it sees all")

    @classmethod
    def of(cls, caller: Key) -> "CallerResponse":
        """Describe the key of a caller."""
        return cls(
            key=None if caller is ANYONE else caller.name,
            scopes=[scope for scope in SCOPES if caller.has(scope)],
            collections=None if caller.collections is None else sorted(caller.collections),
        )


class ServerVersion(BaseModel):
    """Versions and limits of this server, and what the caller may do. `model` is null while it loads.

    `read_only`: whether every change is refused with 403.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "version": __version__,
                "model": EXAMPLE_MODEL,
                "provider": "CPUExecutionProvider",
                "embed_dim": 256,
                "default_collection": "default",
                "read_only": False,
                "max_items": 256,
                "max_add_items": 64,
                "max_image_bytes": 20_000_000,
                "caller": {"key": "notebook", "scopes": ["read", "write"], "collections": ["gallery"]},
            }
        )
    )

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str
    read_only: bool
    max_items: int
    max_add_items: int
    max_image_bytes: int
    caller: CallerResponse


router = APIRouter(tags=["operate"], route_class=GuardedRoute)
_LINES: Responses = {200: {"content": {"text/plain": {"example": "diptych_ready 1\n"}}}}


@router.get("/healthz", summary="Check that the server is alive", response_model=Alive, openapi_extra=NO_KEY)
@needs(None)
async def healthz(request: Request) -> Response:
    """Whether the process responds, whatever the state of the model."""
    return json_response(request, Alive())


@router.get(
    "/readyz",
    summary="Check that the server is ready",
    response_model=Ready,
    responses=documented_errors(503),
    openapi_extra=NO_KEY,
)
@needs(None)
async def readyz(request: Request, state: State) -> Response:
    """200 when the server can take requests.

    503 with the reason while it loads, while the self-test of the encoder fails, or while files of the data
    folder are missing or its disk takes no writes.
    """
    report = await state.ready().report()
    if not report.ready:
        raise NotReady(report.reason)
    return json_response(request, Ready(canary_age_s=report.canary_age_s))


@router.get(
    "/metrics",
    summary="Read metrics",
    response_class=Response,
    responses=_LINES | documented_errors(*COMMON_ERRORS),
)
@needs("read", collections="all")
async def metrics(state: State) -> Response:
    """Metrics in the format of Prometheus."""
    services = state.ready()
    services.metrics.set_ready((await services.report()).ready)
    await services.report_metrics()
    payload, content_type = services.metrics.render()
    return Response(payload, media_type=content_type)


@router.get(
    "/version",
    summary="Get versions and limits",
    response_model=ServerVersion,
    responses=documented_errors(401, 403),
)
@needs("read")
async def version(request: Request, state: State) -> Response:
    """The versions of server and model; available while the model loads, too."""
    services, options = state.services, state.options
    active = None if services is None else services.serving.current.version
    return json_response(
        request,
        ServerVersion(
            version=__version__,
            model=None if active is None else ModelRef.of(active.model),
            provider=None if active is None else active.model.provider,
            embed_dim=None if active is None else active.model.embed_dim,
            default_collection=options.default_collection,
            read_only=options.read_only,
            max_items=options.limits.max_items,
            max_add_items=options.limits.max_add_items,
            max_image_bytes=options.limits.max_image_bytes,
            caller=CallerResponse.of(caller_of(request)),
        ),
    )
