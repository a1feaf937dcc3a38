"""The error responses of a route, for the OpenAPI description.

@router.get("/things/{id}", responses=documented_errors(404))
"""

from typing import Any

from pydantic import BaseModel

from diptych.http.errors.problem_json import PROBLEM_JSON, HuggingFaceError, OpenAIError, Problem
from diptych.http.media_types import JSON

COMMON_ERRORS = (
    401,
    403,
    422,
    503,
    504,
)  # key, host, parameters, loading, timeout: any route may return these
BODY_ERRORS = (400, 408, 413, 415, 422, 429)  # of reading a body and working on it

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "The body does not match its content type: it is cut off, not JSON, or not a form",
    401: "The API key is missing, wrong, expired or revoked",
    403: "The key does not allow this call, or Host or Origin is not this server",
    404: "There is no such model, version, rollout, collection or image, or the key does not see it",
    408: "The body was not complete in time",
    409: "The name or id is taken, the collection belongs to a model that is not served, the version cannot "
    "be served here, or the rollout has ended",
    413: "Over a limit in bytes, pixels or items",
    415: "The content type, or the image format, is not supported",
    422: "A value over its limit or of the wrong type, an unknown parameter, or an undecodable image",
    429: "A queue, or the memory for bodies, is full: try again later",
    503: "The model is being loaded, the collection is being embedded again, the disk is read-only, or the "
    "server is stopping",
    504: "The request took longer than allowed, and its work was cancelled",
    507: "The disk of the data folder or the model repository, or the quota, is full",
}
_OTHER = "Any other error, such as 405 with `Allow` for an unsupported method, or an unexpected 500"
_HEADERS = {
    401: {"WWW-Authenticate": "how to send the key"},
    429: {"Retry-After": "seconds"},
    503: {"Retry-After": "seconds"},
}


def documented_errors(*statuses: int) -> Responses:
    """Describe problems (RFC 9457) with these statuses."""
    return _responses(statuses, PROBLEM_JSON, Problem.__name__)


def other_errors() -> Responses:
    """Describe the errors that any route may return beside those that it names."""
    return {"default": _response(_OTHER, PROBLEM_JSON, Problem.__name__)}


def openai_errors(*statuses: int) -> Responses:
    """Describe errors with these statuses, and all others, in OpenAI's shape."""
    return _in_shape(OpenAIError, statuses)


def hugging_face_errors(*statuses: int) -> Responses:
    """Describe errors with these statuses, and all others, in Hugging Face's shape."""
    return _in_shape(HuggingFaceError, statuses)


def _in_shape(shape: type[BaseModel], statuses: tuple[int, ...]) -> Responses:
    name = shape.__name__
    return {"default": _response(_OTHER, JSON, name)} | _responses(statuses, JSON, name)


def _responses(statuses: tuple[int, ...], media_type: str, model: str) -> Responses:
    described: Responses = {}
    for status in statuses:
        described[status] = _response(_MEANINGS[status], media_type, model)
        if status in _HEADERS:
            headers = _HEADERS[status].items()
            described[status]["headers"] = {name: _header(about) for name, about in headers}
    return described


def _response(description: str, media_type: str, model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
