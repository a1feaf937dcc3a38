"""`/models`: what the repository holds, and which version answers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.catalogue import Catalogue, VersionEntry
from diptych.errors import NotFound
from diptych.http.answers_operate import (
    IgnoredVersion,
    ModelList,
    ModelResponse,
    ModelVersions,
    ServingResponse,
    VersionEntryResponse,
)
from diptych.http.errors.documented_errors import GUARDED, refusals
from diptych.http.requests import NoQuery
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices

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
