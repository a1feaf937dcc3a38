"""`/models`: the models in the repository, the version that serves, and the rollout under way."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.bundle.calibration import Calibration, RelevanceMap
from diptych.core.catalogue import ModelEntry, VersionEntry
from diptych.core.rollout.types import Policy, PreviousVersion
from diptych.core.tuning.precision import Execution
from diptych.errors import NotFound
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.endpoints.rollouts import EXAMPLE_ROLLOUT, EXAMPLE_VERSION, RolloutResponse, TargetResponse
from diptych.http.errors.documented_errors import COMMON_ERRORS, documented_errors
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import NoQuery
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices


class CandidateResponse(BaseModel):
    """One precision that was tried. Times are per item in a batch; null when there was nothing to compare."""

    precision: str
    image_ms: float | None
    text_ms: float | None
    passed: bool
    error: str | None = Field(description="why it did not pass, or was not tried")


class ExecutionLayoutResponse(BaseModel):
    """The execution layout: `n_lanes` batches in parallel, the largest batch sizes, and decoder threads."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


class DeviceResponse(BaseModel):
    """Where the encoders run, and why; after a fallback to the CPU, `reason` says what was missing."""

    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider")
    name: str | None = Field(description="of the GPU; null on the CPU")
    reason: str


class TensorRtResponse(BaseModel):
    """Whether TensorRT serves. If it is `unavailable`, CUDA or the CPU serves; `reason` says why."""

    state: Literal["serving", "unavailable"]
    reason: str


class GoldenParityResponse(BaseModel):
    """How near a precision is to the golden outputs, measured on this machine."""

    cosine_min: float
    cosine_mean: float = Field(description="of images or of texts, whichever is lower")
    batch_cosine_min: float = Field(description="of one item alone to the same item in a batch")
    n_images: int
    n_texts: int


class RunningResponse(BaseModel):
    """How one precision is served at this moment."""

    precision: str
    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider")
    tensorrt: TensorRtResponse | None = Field(description="null when it is not enabled")


class ServingResponse(BaseModel):
    """The precision of all vectors, why it was chosen and from which candidates, and what runs it now."""

    precision: str
    reason: str
    candidates: list[CandidateResponse] = Field(description="empty unless this start has chosen")
    plan: ExecutionLayoutResponse | None
    parity: GoldenParityResponse | None = Field(
        description="of bf16, which has none in the manifest; null for other precisions"
    )
    device: DeviceResponse
    running: RunningResponse | None

    @classmethod
    def of(cls, serving: Execution | None) -> "ServingResponse | None":
        """Convert the domain object."""
        if serving is None:
            return None
        fields = asdict(serving)
        return cls.model_validate({**fields.pop("choice"), **fields})


_EXAMPLE_PLAN = {"n_lanes": 1, "image_batch_size": 16, "text_batch_size": 32, "n_decode_threads": 2}
_EXAMPLE_SERVING = {
    "precision": "fp32",
    "reason": "the most exact, and the fastest",
    "candidates": [{"precision": "fp32", "image_ms": 11.2, "text_ms": 3.1, "passed": True, "error": None}],
    "plan": _EXAMPLE_PLAN,
    "parity": None,
    "device": {"provider": "CPUExecutionProvider", "name": None, "reason": "this machine has no GPU"},
    "running": {"precision": "fp32", "provider": "CPUExecutionProvider", "tensorrt": None},
}
_EXAMPLE_CALIBRATION = {
    "n_background": 256,
    "text": {"error": 0.03, "n_queries": 400, "ignored": None},
    "image": {"error": 0.05, "n_queries": 400, "ignored": None},
}
_EXAMPLE_ENTRY = {
    "name": "everyday",
    "version": 1,
    "active": True,
    "serving": _EXAMPLE_SERVING,
    "manifest": {"name": "everyday", "version": 1, "embed_dim": 256},
    "prompt_sets": ["photos", "pictograms"],
    "error": None,
    "ignored": None,
    "calibration": _EXAMPLE_CALIBRATION,
}


class IgnoredVersion(BaseModel):
    """A version that cannot be served on this machine, such as a damaged one, or one for another GPU."""

    version: int
    reason: str


class BrokenFolder(BaseModel):
    """A folder, file or link in the model repository that is no version or no model, and is never loaded."""

    folder: str
    reason: str


class ReliabilityResponse(BaseModel):
    """How reliable relevance is for one kind of query."""

    error: float | None = Field(
        description="the expected calibration error of the best hits; null if it was not measured"
    )
    n_queries: int = Field(description="queries that it was fitted on")
    ignored: str | None = Field(
        description="why hits have no relevance, such as an error that is too large; null if they have one"
    )

    @classmethod
    def of(cls, map: RelevanceMap | None) -> "ReliabilityResponse | None":
        """Describe the map of one kind of query."""
        return None if map is None else cls(error=map.error, n_queries=map.n_queries, ignored=map.ignored)


class CalibrationResponse(BaseModel):
    """What gives search hits a relevance. A kind of query without a reliability, or whose map is ignored, has
    no relevance.
    """

    n_background: int = Field(
        description="pictures that a query is compared with, in addition to the collection"
    )
    text: ReliabilityResponse | None
    image: ReliabilityResponse | None

    @classmethod
    def of(cls, calibration: Calibration | None) -> "CalibrationResponse | None":
        """Describe a calibration."""
        if calibration is None:
            return None
        text, image = (ReliabilityResponse.of(calibration.maps.get(kind)) for kind in ("text", "image"))
        return cls(n_background=len(calibration.bank), text=text, image=image)


class ModelResponse(BaseModel):
    """One model of the repository. `active`: the version that serves now, as `serving` says.

    `source` and `calibration`: those of the active version, or else of the latest.
    """

    name: str
    versions: list[int]
    active: int | None
    serving: ServingResponse | None
    source: dict[str, Any] | None
    ignored: list[IgnoredVersion] = Field(
        description="versions that cannot be served on this machine, and why"
    )
    broken: list[BrokenFolder] = Field(
        description="entries of the folder of the model that are not versions, such as a folder without its "
        "manifest or a link, and why; empty for keys without scope admin"
    )
    bundle: str | None = Field(description="the sha256 of the manifest of the active version")
    replaced: bool = Field(
        description="whether the repository has other content under the number of the active version by now, "
        "which does not serve"
    )
    loaded: list[int] = Field(
        description="versions in memory: the active one, the one before, and those that made the vectors of "
        "collections"
    )
    calibration: CalibrationResponse | None = Field(description="null if the version is not calibrated")


class PreviousVersionResponse(TargetResponse):
    """The version that served before, which a rollback returns to.

    At once while `n_lagging` is 0: it counts the images that have no vector of it yet.
    """

    n_lagging: int
    memory_bytes: int = Field(description="of its indexes")
    weight_bytes: int = Field(
        description="of its weights in memory: about the size of the graphs that are loaded"
    )
    vector_bytes: int = Field(description="of its vectors in the database")
    bundle_bytes: int = Field(description="of the copy of its files in the data folder")

    @classmethod
    def of_previous(cls, previous: PreviousVersion | None) -> "PreviousVersionResponse | None":
        """Convert the domain object."""
        if previous is None:
            return None
        return cls(
            **dict(TargetResponse.of_target(previous.target)),
            n_lagging=previous.n_lagging,
            memory_bytes=previous.memory_bytes,
            weight_bytes=previous.weight_bytes,
            vector_bytes=previous.vector_bytes,
            bundle_bytes=previous.bundle_bytes,
        )


class ModelList(BaseModel):
    """All models of the repository, and how the server moves between versions.

    `policy`: whether the server takes new versions by itself ("latest"), only by `activate` ("manual"), or
    stays on the version that its settings name ("pinned").
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "models": [
                    {
                        "name": "everyday",
                        "versions": [1],
                        "active": 1,
                        "serving": _EXAMPLE_SERVING,
                        "source": {"kind": "import"},
                        "ignored": [],
                        "broken": [],
                        "bundle": EXAMPLE_VERSION["bundle"],
                        "replaced": False,
                        "loaded": [1],
                        "calibration": _EXAMPLE_CALIBRATION,
                    }
                ],
                "policy": "latest",
                "previous": None,
                "rollout": EXAMPLE_ROLLOUT,
                "broken": [],
            }
        )
    )

    models: list[ModelResponse]
    policy: Policy
    previous: PreviousVersionResponse | None = Field(description="null if none is kept")
    rollout: RolloutResponse | None = Field(description="the one under way")
    broken: list[BrokenFolder] = Field(
        description="entries of the repository that are not models, such as a folder without a version, "
        "with the reason; empty for keys without scope admin"
    )


class VersionEntryResponse(BaseModel):
    """One version: its manifest with parity and metrics, or the error that makes it unreadable.

    `serving` is null unless the version is active.
    """

    model_config = ConfigDict(json_schema_extra=schemas.example(_EXAMPLE_ENTRY))

    name: str
    version: int
    active: bool
    serving: ServingResponse | None
    manifest: dict[str, Any] | None
    prompt_sets: list[str] = Field(description="template sets that `templates` of /classify may name")
    error: str | None
    ignored: str | None = Field(description="why it cannot be served on this machine; else null")
    calibration: CalibrationResponse | None = Field(description="null if the version is not calibrated")


class ModelVersions(BaseModel):
    """All versions of one model, ascending."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"name": "everyday", "versions": [_EXAMPLE_ENTRY]})
    )

    name: str
    versions: list[VersionEntryResponse]


router = APIRouter(tags=["models"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)


@router.get("/models", summary="List models", response_model=ModelList)
@needs("read", collections="chosen")
async def list_models(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """List all models of the repository, and the rollout that is under way.

    One of them has an active version, with its precisions in `serving`. A key that is limited to some
    collections sees no rollouts, which tell of others: `rollout` and `previous` are null.
    """
    catalogue, status = services.catalogue, await services.rollouts.status()
    caller = caller_of(request)
    sees_rollouts, sees_broken = caller.collections is None, caller.has("admin")
    models = []
    for entry in await catalogue.models():
        failures = services.rollouts.failures(entry.name) if sees_rollouts else {}
        models.append(_model(entry if sees_broken else replace(entry, broken={}), failures))
    content = ModelList(
        models=models,
        policy=status.policy,
        previous=PreviousVersionResponse.of_previous(status.previous if sees_rollouts else None),
        rollout=None
        if status.running is None or not sees_rollouts
        else RolloutResponse.of(status.running, status.progress).without_queries(),
        broken=_broken(await catalogue.broken() if sees_broken else {}),
    )
    return json_response(request, content)


@router.get(
    "/models/{name}",
    summary="List the versions of a model",
    response_model=ModelVersions,
    responses=documented_errors(404),
)
@needs("read")
async def get_model(request: Request, services: ReadyServices, name: str, _: NoQuery) -> Response:
    """List all versions of one model, each with its manifest, which includes parity and metrics."""
    entries = await services.catalogue.versions(name)
    return json_response(
        request, ModelVersions(name=name, versions=[_entry(name, entry) for entry in entries])
    )


@router.get(
    "/models/{name}/versions/{version}",
    summary="Get a version of a model",
    response_model=VersionEntryResponse,
    responses=documented_errors(404, 422),
)
@needs("read")
async def get_version(
    request: Request, services: ReadyServices, name: str, version: int, _: NoQuery
) -> Response:
    """One version: its manifest with parity and metrics. The active one also has its precisions and why."""
    for entry in await services.catalogue.versions(name):
        if entry.version == version:
            return json_response(request, _entry(name, entry))
    raise NotFound(f"model {name!r} has no version {version}")


def _ignored(entry: ModelEntry, failures: Mapping[int, str]) -> list[IgnoredVersion]:
    """The versions that cannot be served here, by their manifests or because activating them failed."""
    failed = {n: reason for n, reason in failures.items() if n in entry.versions and n != entry.active}
    return [
        IgnoredVersion(version=n, reason=reason) for n, reason in sorted({**failed, **entry.ignored}.items())
    ]


def _broken(reasons: Mapping[str, str]) -> list[BrokenFolder]:
    return [BrokenFolder(folder=name, reason=reason) for name, reason in reasons.items()]


def _model(entry: ModelEntry, failures: Mapping[int, str]) -> ModelResponse:
    return ModelResponse(
        name=entry.name,
        versions=list(entry.versions),
        active=entry.active,
        serving=ServingResponse.of(entry.serving),
        source=None if entry.manifest is None else dict(entry.manifest.source),
        ignored=_ignored(entry, failures),
        broken=_broken(entry.broken),
        bundle=entry.bundle,
        replaced=entry.is_replaced,
        loaded=list(entry.loaded),
        calibration=CalibrationResponse.of(entry.calibration),
    )


def _entry(name: str, entry: VersionEntry) -> VersionEntryResponse:
    return VersionEntryResponse(
        name=name,
        version=entry.version,
        active=entry.active,
        serving=ServingResponse.of(entry.serving),
        manifest=None if entry.manifest is None else entry.manifest.model_dump(mode="json"),
        prompt_sets=list(entry.prompt_sets),
        error=entry.error,
        ignored=entry.ignored,
        calibration=CalibrationResponse.of(entry.calibration),
    )
