"""`POST /models/{name}/versions`: publish a version that was made on another machine."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from diptych.bundle.schema import NAME_PATTERN
from diptych.core.push import PushedVersion
from diptych.core.services import Services
from diptych.http.access import GuardedRoute, needs
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.media_types import TAR, media_type, unsupported
from diptych.http.middleware.body_budget import memory_releaser
from diptych.http.middleware.timeout import deadline_extender
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import body_chunks
from diptych.http.parsing.request_models import NoQuery
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices, State

ModelName = Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
CHUNK = 1_000_000  # bytes in memory before they are written
NEEDS_KEY = (
    "this server was started without an API key, and takes no pushes then, since a model is as powerful as "
    "code. Whoever runs it starts it again with DIPTYCH_API_KEY set, makes a key with `diptych keys create`, "
    "or copies the folder of the version into its model repository"
)


class PushedVersionResponse(BaseModel):
    """The version that the repository has now, under the next free number."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "name": "mine",
                "version": 4,
                "created": True,
                "active": False,
                "n_files": 9,
                "n_bytes": 151204331,
            }
        )
    )

    name: str
    version: int
    created: bool = Field(description="false if the repository had this version before, with the same files")
    active: bool = Field(description="whether it serves; a new version does once it is activated")
    n_files: int
    n_bytes: int

    @classmethod
    def of(cls, pushed: PushedVersion, services: Services) -> "PushedVersionResponse":
        """Convert the domain object."""
        files = pushed.manifest.files.values()
        return cls(
            name=pushed.name,
            version=pushed.version,
            created=pushed.created,
            active=services.catalogue.is_active(pushed.name, pushed.version),
            n_files=len(files),
            n_bytes=sum(file.bytes for file in files),
        )


router = APIRouter(tags=["models"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_LOCATION: dict[str, Any] = {"Location": {"description": "of the version", "schema": {"type": "string"}}}
_FORBIDDEN: Responses = {
    403: documented_errors(403)[403]
    | {"description": "The key or Host or Origin does not allow this call, or the server has no API key"}
}
_DONE: Responses = {
    200: {"model": PushedVersionResponse, "description": "The repository has this version already"},
    201: {"description": "A new version was published", "headers": _LOCATION},
}


@router.post(
    "/models/{name}/versions",
    summary="Push a version of a model",
    response_model=PushedVersionResponse,
    status_code=201,
    responses=documented_errors(409, 507, *BODY_ERRORS) | _FORBIDDEN | _DONE,
    openapi_extra=request_body(raw=(TAR,)),
)
@needs("admin", collections="all", action="push version")
async def push_version(
    request: Request, services: ReadyServices, state: State, options: Options, name: ModelName, _: NoQuery
) -> Response:
    """Push a version: a tar archive of the files of one bundle, without folders.

    `manifest.json` and the files that it lists, with their sizes and sha256; put the manifest first, so that
    a fault is found before the rest has arrived. The bundle becomes the next version of `name` in one step.
    The same bundle again is the same version. The server must have an API key. By the policy `latest` it
    moves to a new version of the name that it serves; else `activate` makes it do so.
    """
    if not state.keys.required:
        raise HTTPException(403, NEEDS_KEY)
    if media_type(request) != TAR:
        raise unsupported(request, (TAR,))
    with context_of(request).stage("work"):
        async with aclosing(_chunks(request, options)) as chunks:
            pushed = await services.pushes.push(name, chunks)
    response = json_response(
        request, PushedVersionResponse.of(pushed, services), 201 if pushed.created else 200
    )
    response.headers["Location"] = f"/models/{pushed.name}/versions/{pushed.version}"
    return response


async def _chunks(request: Request, options: HttpOptions) -> AsyncGenerator[bytearray, None]:
    """The body in pieces of about CHUNK bytes. When the next piece is asked for, the last one was written."""
    buffer = bytearray()
    release, extend_deadline = memory_releaser(request), deadline_extender(request)
    async for chunk in body_chunks(request, lambda: options.push_body):
        buffer += chunk
        if len(buffer) >= CHUNK:
            yield buffer
            release(len(buffer))
            buffer.clear()
            extend_deadline()
    yield buffer
    release(len(buffer))
