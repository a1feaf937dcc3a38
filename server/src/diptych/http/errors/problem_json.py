"""The table from error classes to HTTP statuses, and the serialisation of errors.

Errors are `application/problem+json` (RFC 9457); OpenAI's shape under /v1, Hugging Face's under /hf.
"""

import math
import re
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from diptych import errors
from diptych.errors import DiptychError, NotReady, Overloaded, StoreUnavailable
from diptych.http.context import context_of
from diptych.http.errors.json_paths import cut

STATUS: dict[type[DiptychError], int] = {
    errors.DiptychError: 500,
    errors.InputError: 422,
    errors.Malformed: 400,
    errors.UnsupportedImage: 415,
    errors.UndecodableImage: 422,
    errors.UnfetchableImage: 422,
    errors.InvalidValue: 422,
    errors.TooLarge: 413,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Overloaded: 429,
    errors.NotReady: 503,
    errors.EncoderFailed: 500,
    errors.BundleError: 500,
    errors.InvalidManifest: 500,
    errors.CorruptBundle: 500,
    errors.GoldenMismatch: 500,
    errors.PublishFailed: 503,
    errors.RepositoryFull: 507,
    errors.StoreError: 500,
    errors.DataDirLocked: 503,
    errors.CorruptStore: 500,
    errors.StoreFull: 507,
    errors.StoreReadOnly: 503,
    errors.StoreUnavailable: 503,
    errors.LibraryAway: 503,
    errors.ConfigError: 500,
}
NOT_READY_RETRY_S = 1
MAX_ITEM_CHARS = 400  # names come from the client and may be megabytes long
MAX_DETAIL_CHARS = 2_000
PROBLEM_JSON = "application/problem+json"
# On every response: browsers must not guess its media type, nor show it in pages of other origins.
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}


class Problem(BaseModel):
    """A problem (RFC 9457). `item` names the part of the request that caused it, such as `input[3]`."""

    type: str = Field(examples=["urn:diptych:error:invalid-value"])
    title: str = Field(examples=["Invalid value"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["input[3]: image has 90000000 pixels, limit is 50000000"])
    request_id: str
    item: str | None = None


class OpenAIErrorBody(BaseModel):
    """The content of an OpenAI error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error in the shape that OpenAI's clients read. `detail`: the message, for clients of Jina."""

    error: OpenAIErrorBody
    detail: str


class HuggingFaceError(BaseModel):
    """An error in the shape that Hugging Face's clients read."""

    error: str


def status_of(error: DiptychError) -> int:
    """The status of an error's class, or of the nearest class above it."""
    return next(STATUS[base] for base in type(error).__mro__ if base in STATUS)


def headers_of(error: DiptychError) -> dict[str, str]:
    """Retry-After, for errors that may be gone when the client tries again."""
    if isinstance(error, Overloaded):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    passes = isinstance(error, NotReady | StoreUnavailable)
    return {"Retry-After": str(NOT_READY_RETRY_S)} if passes else {}


def problem_of(error: DiptychError, request_id: str) -> Problem:
    """A DiptychError as a problem; also part of the outcomes of an add."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    return Problem(
        type=f"urn:diptych:error:{name.lower().replace(' ', '-')}",
        title=name.capitalize(),
        status=status_of(error),
        detail=cut(str(error), MAX_DETAIL_CHARS),
        request_id=request_id,
        item=error.item if error.item is None else cut(error.item, MAX_ITEM_CHARS),
    )


def http_problem(status: int, detail: str, request_id: str) -> Problem:
    """A problem of the HTTP protocol, such as 405."""
    title = HTTPStatus(status).phrase
    return Problem(type="about:blank", title=title, status=status, detail=detail, request_id=request_id)


def http_problem_bytes(status: int, detail: str, request_id: str) -> bytes:
    """A complete HTTP/1.1 response with the problem as its body; it closes the connection."""
    body = http_problem(status, detail, request_id).model_dump_json(exclude_none=True).encode()
    headers = {
        "content-type": PROBLEM_JSON,
        "content-length": len(body),
        "connection": "close",
        "x-request-id": request_id,
        **SAFE_HEADERS,
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = NOT_READY_RETRY_S
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def respond(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """A response with the problem, in OpenAI's shape under /v1 and in Hugging Face's under /hf."""
    if request.url.path.startswith("/v1/"):
        body, media_type = openai_error(problem).model_dump_json(), "application/json"
    elif request.url.path.startswith("/hf/"):
        body, media_type = hugging_face_error(problem).model_dump_json(), "application/json"
    else:
        body, media_type = problem.model_dump_json(exclude_none=True), PROBLEM_JSON
    return Response(body, problem.status, headers, media_type)


def respond_error(request: Request, error: DiptychError) -> Response:
    """A response for a DiptychError."""
    return respond(request, problem_of(error, context_of(request).request_id), headers_of(error))


def respond_http(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """A response with a problem of the HTTP protocol."""
    return respond(request, http_problem(status, detail, context_of(request).request_id), headers)


def openai_error(problem: Problem) -> OpenAIError:
    """The problem in OpenAI's shape."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        problem.status, "invalid_request_error" if problem.status < 500 else "server_error"
    )
    code = problem.title.lower().replace(" ", "_")
    body = OpenAIErrorBody(message=problem.detail, type=kind, param=problem.item, code=code)
    return OpenAIError(error=body, detail=problem.detail)


def hugging_face_error(problem: Problem) -> HuggingFaceError:
    """The problem in Hugging Face's shape."""
    return HuggingFaceError(error=problem.detail)
