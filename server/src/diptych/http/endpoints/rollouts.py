"""`/rollouts`, and activating a version: move the running server to another version of a model."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.core.rollout.service import Rollouts
from diptych.core.rollout.types import CollectionProgress, Progress, Rollout, RolloutState
from diptych.core.types import Target, VersionRef
from diptych.errors import BundleError, ConfigError, Conflict
from diptych.http.access import GuardedRoute, needs
from diptych.http.description import request_body
from diptych.http.endpoints.comparison import EXAMPLE_COMPARISON, ComparisonResponse
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_at_most
from diptych.http.parsing.request_models import NoQuery, Precision, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices


class ActivateRequest(RequestModel):
    """`POST` of `activate`. The body may be left out."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"precision": "fp32"}))

    precision: Precision | None = Field(
        None,
        description="of all vectors from then on; if left out, the one that the data folder records, if the "
        "version has it",
    )
    despite_labels: bool = Field(
        False,
        description="switch even if the version agrees less with people on their label sets, which fails the "
        "rollout otherwise; to `previous` of `GET /models` it is a rollback, which compares nothing",
    )


class _RolloutsParameters(RequestModel):
    """`GET /rollouts`."""

    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


RolloutsQuery = Annotated[_RolloutsParameters, Query()]


class VersionResponse(BaseModel):
    """One version of a model."""

    name: str
    version: int
    bundle: str = Field(
        description="the sha256 of its manifest, by which versions of one number are told apart"
    )

    @classmethod
    def of(cls, ref: VersionRef) -> "VersionResponse":
        """Convert the domain object."""
        return cls(name=ref.name, version=ref.version, bundle=ref.bundle)


class TargetResponse(VersionResponse):
    """A version in one precision: what a server serves."""

    precision: str

    @classmethod
    def of_target(cls, target: Target) -> "TargetResponse":
        """Convert the domain object."""
        return cls(**dict(VersionResponse.of(target.ref)), precision=target.precision)


class ProgressResponse(BaseModel):
    """How many of the images that a rollout concerns have a vector of its version."""

    n_images: int
    n_embedded: int
    images_per_s: float | None = Field(description="null until it is known")
    eta_s: float | None = Field(description="seconds until all are embedded; null until that is known")

    @classmethod
    def of(cls, progress: Progress | None) -> "ProgressResponse | None":
        """Convert the domain object."""
        return None if progress is None else cls(**vars(progress))


EXAMPLE_VERSION = {
    "name": "mine",
    "version": 4,
    "bundle": "f0c2d4e6a8b19375c0d1e2f3a4b5968778695a4b3c2d1e0f9182736455463728",
}
EXAMPLE_TARGET = {**EXAMPLE_VERSION, "precision": "fp32"}
EXAMPLE_ROLLOUT = {
    "id": "9f2c41d07be84a53",
    "target": EXAMPLE_TARGET,
    "state": "embedding",
    "progress": {"n_images": 1200, "n_embedded": 450, "images_per_s": 85.5, "eta_s": 8.8},
    "stays": {},
    "reason": "",
    "comparison": None,
    "created_at": "2026-03-02T09:30:00.000+00:00",
    "finished_at": None,
}
_EXAMPLE_ENDED = {
    **EXAMPLE_ROLLOUT,
    "state": "active",
    "progress": None,
    "comparison": EXAMPLE_COMPARISON,
    "finished_at": "2026-03-02T09:30:21.000+00:00",
}


class RolloutResponse(BaseModel):
    """One move of the server, with all collections that can move, to a version in a precision.

    The states follow each other: "waiting" for its turn, "discovered", "verified" (its files have their
    sha256), "proven" (it reproduces its golden outputs on this machine), "warmed", "embedding" the images of
    collections, "compared", "active". A rollout may also end as "failed" or "cancelled"; then what
    served before serves on.
    """

    model_config = ConfigDict(json_schema_extra=schemas.example(EXAMPLE_ROLLOUT, _EXAMPLE_ENDED))

    id: str
    target: TargetResponse
    state: RolloutState
    progress: ProgressResponse | None = Field(description="null unless it is under way")
    stays: dict[str, str] = Field(
        description="collections that stay on the version that made their vectors, and why; they can be "
        "searched as before"
    )
    reason: str = Field(
        description="why it failed or was cancelled; before that, which other servers of the database it "
        "waits for, else empty"
    )
    comparison: ComparisonResponse | None = Field(
        description="its searches compared with those of the former version; null until then; in a list "
        "without the queries that change most"
    )
    created_at: str = Field(description="ISO 8601, UTC")
    finished_at: str | None

    @classmethod
    def of(cls, rollout: Rollout, progress: Progress | None) -> "RolloutResponse":
        """Convert the domain objects."""
        return cls(
            id=rollout.id,
            target=TargetResponse.of_target(rollout.target),
            state=rollout.state,
            progress=ProgressResponse.of(progress),
            stays=dict(rollout.stays),
            reason=rollout.reason,
            comparison=None
            if rollout.comparison is None
            else ComparisonResponse.model_validate(rollout.comparison),
            created_at=rollout.created_at,
            finished_at=rollout.finished_at,
        )

    def without_queries(self) -> "RolloutResponse":
        """The rollout without the queries of its comparison, which are long."""
        comparison = self.comparison
        return self.model_copy(
            update={"comparison": None if comparison is None else comparison.without_queries()}
        )


class RolloutList(BaseModel):
    """Rollouts, newest first."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"rollouts": [EXAMPLE_ROLLOUT]}))

    rollouts: list[RolloutResponse]


class CollectionRolloutResponse(BaseModel):
    """The rollout that a collection takes part in. Searches use its former vectors until all are there."""

    id: str
    model: str
    version: int
    precision: str
    state: RolloutState
    n_images: int
    n_embedded: int

    @classmethod
    def of(cls, moving: CollectionProgress | None) -> "CollectionRolloutResponse | None":
        """Convert the domain object."""
        if moving is None:
            return None
        rollout, ref = moving.rollout, moving.rollout.target.ref
        return cls(
            id=rollout.id,
            model=ref.name,
            version=ref.version,
            precision=rollout.target.precision,
            state=rollout.state,
            n_images=moving.n_images,
            n_embedded=moving.n_embedded,
        )


router = APIRouter(tags=["models"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_LOCATION: Mapping[str, Any] = {"Location": {"description": "of the rollout", "schema": {"type": "string"}}}
_STARTED: Responses = {
    200: {"model": RolloutResponse, "description": "The version serves already"},
    202: {"description": "The rollout has begun", "headers": _LOCATION},
}


@router.post(
    "/models/{name}/versions/{version}/activate",
    summary="Activate a version of a model",
    response_model=RolloutResponse,
    status_code=202,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS) | _STARTED,
    openapi_extra=request_body(ActivateRequest, required=False),
)
@needs("admin", collections="all", action="activate version")
async def activate_version(
    request: Request, services: ReadyServices, options: Options, name: str, version: int, _: NoQuery
) -> Response:
    """Move the server to a version, with all collections whose images can be embedded again.

    What serves now serves until the version is loaded and proven, and all images have a vector of it. A
    rollout to another version that is under way is cancelled. 409 if the version cannot be read or served on
    this machine.
    """
    body = await _activation(request, options)
    try:
        rollout = await services.rollouts.activate(
            name, version, body.precision, despite_labels=body.despite_labels
        )
    except (BundleError, ConfigError) as error:
        raise Conflict(str(error)) from error
    content = _rollout(services.rollouts, rollout)
    if rollout.state == "active":
        return json_response(request, content)
    response = json_response(request, content, 202)
    response.headers["Location"] = f"/rollouts/{rollout.id}"
    return response


@router.get("/rollouts", summary="List rollouts", response_model=RolloutList)
@needs("admin", collections="all")
async def list_rollouts(
    request: Request, services: ReadyServices, options: Options, query: RolloutsQuery
) -> Response:
    """List the newest rollouts, newest first."""
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    found = await services.rollouts.list(query.limit)
    rows = [_rollout(services.rollouts, one).without_queries() for one in found]
    return json_response(request, RolloutList(rollouts=rows))


@router.get(
    "/rollouts/{rollout}",
    summary="Get the progress of a rollout",
    response_model=RolloutResponse,
    responses=documented_errors(404),
)
@needs("admin", collections="all")
async def get_rollout(request: Request, services: ReadyServices, rollout: str, _: NoQuery) -> Response:
    """The state and progress of one rollout."""
    return json_response(request, _rollout(services.rollouts, await services.rollouts.get(rollout)))


@router.delete(
    "/rollouts/{rollout}",
    summary="Cancel a rollout",
    response_model=RolloutResponse,
    responses=documented_errors(404, 409, 507),
)
@needs("admin", collections="all", action="cancel rollout")
async def cancel_rollout(request: Request, services: ReadyServices, rollout: str, _: NoQuery) -> Response:
    """Cancel a rollout: what served before serves on. 409 once it has ended."""
    return json_response(request, _rollout(services.rollouts, await services.rollouts.cancel(rollout)))


async def _activation(request: Request, options: HttpOptions) -> ActivateRequest:
    """The body, which may be empty."""
    raw = await read_body(request, options.body)
    if not raw:
        return ActivateRequest()
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    return validated(ActivateRequest, parse_json(raw))


def _rollout(rollouts: Rollouts, rollout: Rollout) -> RolloutResponse:
    return RolloutResponse.of(rollout, rollouts.progress(rollout.id))
