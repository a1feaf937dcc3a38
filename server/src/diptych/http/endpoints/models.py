"""`/models`: what the repository holds, and which version answers."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from diptych.core.catalogue import Catalogue, VersionEntry
from diptych.core.tuning.precision import Serving
from diptych.errors import NotFound
from diptych.http.errors.documented_errors import GUARDED, refusals
from diptych.http.parsing.request_models import NoQuery
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices


class CandidateResponse(BaseModel):
    """One precision that was tried. Times are of one item out of a batch, null when there was no rival."""

    precision: str
    image_ms: float | None
    text_ms: float | None
    passed: bool
    error: str | None = Field(description="why it did not pass, or was not tried")


class PlanResponse(BaseModel):
    """How it runs: `n_lanes` batches side by side, their largest sizes, and threads that decode images."""

    n_lanes: int
    image_batch_size: int
    text_batch_size: int
    n_decode_threads: int


class PrecisionResponse(BaseModel):
    """The precision for one purpose, why, and how this machine is shared out for it."""

    precision: str
    reason: str
    plan: PlanResponse | None


class ChoiceResponse(PrecisionResponse):
    """A precision with all that it was chosen from."""

    candidates: list[CandidateResponse]


class DeviceResponse(BaseModel):
    """Where the encoders run, and why there: what a fallback to the CPU lacked stands in `reason`."""

    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider, or TensorRT")
    name: str | None = Field(description="of the GPU; null on the CPU")
    reason: str


class TowerGraphsResponse(BaseModel):
    """Whether batches of one tower run as CUDA graphs, captured once for each shape, and why so."""

    captured: bool
    reason: str


class CudaGraphsResponse(BaseModel):
    """How batches on a GPU run: each tower is captured or not for reasons of its own."""

    image: TowerGraphsResponse
    text: TowerGraphsResponse


class TensorRtResponse(BaseModel):
    """How far TensorRT is: `unavailable` leaves serving what served before, and `reason` says why."""

    state: Literal["building", "serving", "unavailable"]
    reason: str


class RunningResponse(BaseModel):
    """What runs one precision at this moment."""

    precision: str
    provider: str = Field(description="of onnxruntime, such as CUDAExecutionProvider")
    cuda_graphs: CudaGraphsResponse | None = Field(description="null on the CPU")
    tensorrt: TensorRtResponse | None = Field(description="null where it is not asked for")


class ServingResponse(BaseModel):
    """`embed` is for /embed, /classify and /v1; `collections` for what they hold and for /search.

    `running`: all precisions that are loaded, those that single collections ask for included.
    """

    embed: ChoiceResponse
    collections: PrecisionResponse
    device: DeviceResponse
    running: list[RunningResponse]

    @classmethod
    def of(cls, serving: Serving | None) -> "ServingResponse | None":
        """The same, for the wire."""
        return None if serving is None else cls.model_validate(asdict(serving))


class IgnoredVersion(BaseModel):
    """A version that this server cannot serve on its machine, such as one built for another GPU."""

    version: int
    reason: str


class ModelResponse(BaseModel):
    """One name of the repository. `active`: the version that answers now, in the precisions of `serving`.

    `source`: where the active version, or else the latest, came from.
    """

    name: str
    versions: list[int]
    active: int | None
    serving: ServingResponse | None
    source: dict[str, Any] | None
    ignored: list[IgnoredVersion] = Field(description="versions that cannot be served here, and why")


class ModelList(BaseModel):
    """All models of the repository."""

    models: list[ModelResponse]


class VersionEntryResponse(BaseModel):
    """One version: its manifest with parity and metrics, or the error that keeps it from being read.

    `serving` is null unless the version is active.
    """

    name: str
    version: int
    active: bool
    serving: ServingResponse | None
    manifest: dict[str, Any] | None
    prompt_sets: list[str] = Field(description="names that `templates` of /classify may give")
    error: str | None
    ignored: str | None = Field(description="why this server cannot serve it on its machine; else null")


class ModelVersions(BaseModel):
    """All versions of one name, ascending."""

    name: str
    versions: list[VersionEntryResponse]


router = APIRouter(tags=["models"], responses=refusals(*GUARDED))


@router.get("/models", response_model=ModelList)
async def list_models(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """All models of the repository; one of them has an active version, in the precisions of `serving`."""
    catalogue = services.catalogue
    models = [
        ModelResponse(
            name=entry.name,
            versions=list(entry.versions),
            active=entry.active,
            serving=ServingResponse.of(entry.serving),
            source=await _source(catalogue, entry.name, entry.active or entry.versions[-1]),
            ignored=[IgnoredVersion(version=n, reason=reason) for n, reason in entry.ignored.items()],
        )
        for entry in await catalogue.models()
    ]
    return json_response(request, ModelList(models=models))


@router.get("/models/{name}", response_model=ModelVersions, responses=refusals(404))
async def get_model(request: Request, services: ReadyServices, name: str, _: NoQuery) -> Response:
    """All versions of one model, each with its manifest: parity and metrics included."""
    entries = await services.catalogue.versions(name)
    return json_response(request, ModelVersions(name=name, versions=[_entry(name, one) for one in entries]))


@router.get(
    "/models/{name}/versions/{version}", response_model=VersionEntryResponse, responses=refusals(404, 422)
)
async def get_version(
    request: Request, services: ReadyServices, name: str, version: int, _: NoQuery
) -> Response:
    """One version: its manifest with parity and metrics; of the active one also its precisions, and why."""
    for entry in await services.catalogue.versions(name):
        if entry.version == version:
            return json_response(request, _entry(name, entry))
    raise NotFound(f"model {name!r} has no version {version}")


async def _source(catalogue: Catalogue, name: str, version: int) -> dict[str, Any] | None:
    """Where the model came from; None when its manifest cannot be read."""
    entries = await catalogue.versions(name)
    manifest = next((entry.manifest for entry in entries if entry.version == version), None)
    return None if manifest is None else dict(manifest.source)


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
    )
