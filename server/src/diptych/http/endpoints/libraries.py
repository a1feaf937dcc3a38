"""`/libraries`: folders of pictures that stay where they are."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.core.libraries.service import Library, LibraryState, library_not_found
from diptych.http.access import GuardedRoute, caller_of, needs
from diptych.http.errors.documented_errors import COMMON_ERRORS, documented_errors
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import ReadyServices

_EXAMPLE = {
    "name": "photos",
    "state": "scanning",
    "reason": "",
    "n_files": 8120,
    "n_missing": 3,
    "n_failed": 1,
    "n_to_read": 20000,
    "n_read": 8117,
    "files_per_s": 95.2,
    "eta_s": 124.8,
    "scanned_at": None,
    "problems": [{"path": "2019/broken.jpg", "reason": "image file is truncated (3 bytes not processed)"}],
    "n_problems": 1,
}


class LibraryProblem(BaseModel):
    """A file or folder of a library that is left alone, and why."""

    path: str = Field(description="within the library")
    reason: str


class LibraryResponse(BaseModel):
    """A folder of pictures that the server reads and never changes; the collection of this name follows it.

    "waiting": the folder cannot be scanned now, for the `reason`; it is tried again every few seconds.
    """

    model_config = ConfigDict(json_schema_extra=schemas.example(_EXAMPLE))

    name: str
    state: LibraryState
    reason: str = Field(description="why it waits, else empty")
    n_files: int = Field(description="files that are known; files with the same bytes are one image")
    n_missing: int = Field(description="files that are not there any more; no search finds them")
    n_failed: int = Field(description="files that are no pictures that can be read")
    n_to_read: int = Field(description="new and changed files of the scan that is under way, else 0")
    n_read: int
    files_per_s: float | None = Field(description="of the scan that is under way")
    eta_s: float | None = Field(description="seconds until it has read them all, at this rate")
    scanned_at: str | None = Field(description="when the folder was last looked at: ISO 8601, UTC")
    problems: list[LibraryProblem] = Field(description="a hundred of them at most, by path")
    n_problems: int

    @classmethod
    def of(cls, library: Library) -> "LibraryResponse":
        """Convert the domain object."""
        progress = library.progress
        problems = (library.problems or {}).items()
        return cls(
            **vars(library)
            | {"problems": [LibraryProblem(path=path, reason=reason) for path, reason in problems]},
            n_to_read=0 if progress is None else progress.n_to_read,
            n_read=0 if progress is None else progress.n_read,
            files_per_s=None if progress is None else progress.files_per_s,
            eta_s=None if progress is None else progress.eta_s,
        )


class LibraryList(BaseModel):
    """All libraries that the key sees, by name."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"libraries": [_EXAMPLE]}))

    libraries: list[LibraryResponse]


class _ScanParameters(RequestModel):
    """The query string of a scan."""

    restore_deleted: bool = Field(
        False,
        description="add pictures again that were deleted from the collection, and whose files are there",
    )


ScanQuery = Annotated[_ScanParameters, Query()]

router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)


@router.get("/libraries", summary="List libraries", response_model=LibraryList)
@needs("read", collections="chosen")
async def list_libraries(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """List the folders that the server was started with, and how far their scans are."""
    caller = caller_of(request)
    found = [LibraryResponse.of(one) for one in services.libraries.list() if caller.sees(one.name)]
    return json_response(request, LibraryList(libraries=found))


@router.post(
    "/libraries/{library}/scan",
    summary="Scan a library",
    status_code=202,
    response_model=LibraryResponse,
    responses=documented_errors(404),
)
@needs("write", collections="chosen", action="scan library")
async def scan_library(request: Request, services: ReadyServices, library: str, query: ScanQuery) -> Response:
    """Look for changes now, read again what was no picture before, and accept that most pictures are gone, or
    all of a disk. Its state is "scanning" until the end.
    """
    if not caller_of(request).sees(library):
        raise library_not_found(library)
    found = services.libraries.scan(library, restores=query.restore_deleted)
    return json_response(request, LibraryResponse.of(found), 202)
