"""The errors that a call can answer with, for its description. Knows no call.

@router.get("/things/{id}", responses=refusals(404))
"""

from typing import Any

from diptych.http.errors.problem_json import PROBLEM_JSON, OpenAIError, Problem
from diptych.http.media_types import JSON

GUARDED = (401, 403, 422, 503, 504)  # of key, host, parameters, model and clock
BODY = (400, 408, 413, 415, 422, 429)  # what reading a body, and working on it, can end with

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "Not what its content type says: cut off, not JSON, not a form",
    401: "The API key is missing or wrong",
    403: "Host or Origin is not this server",
    404: "There is no such model, version, collection or image",
    408: "The body was not complete in time",
    409: "The name or id is taken, or the collection belongs to a model that is not served",
    413: "Over a limit in bytes, pixels or items",
    415: "This content type, or this kind of image, is not read here",
    422: "A value outside its limit or of the wrong kind, an unknown parameter, or an undecodable image",
    429: "A queue, or the room for bodies, is full: come back later",
    503: "The model is being loaded, the collection embedded again, the disk read-only, or the server stops",
    504: "No answer within the time that a request may take, and its work was stopped",
    507: "The disk of the data folder, or its quota, has no room for it",
}
_OTHER = "Any other error, such as 405 with `Allow` for a method that the path lacks, or an unexpected 500"
_HEADERS = {
    401: {"WWW-Authenticate": "how to bring the key"},
    429: {"Retry-After": "seconds"},
    503: {"Retry-After": "seconds"},
}


def refusals(*statuses: int) -> Responses:
    """Problems (RFC 9457) of these statuses."""
    return _described(statuses, PROBLEM_JSON, Problem.__name__)


def other_refusals() -> Responses:
    """What holds for every call, on top of the statuses that it names."""
    return {"default": _response(_OTHER, PROBLEM_JSON, Problem.__name__)}


def openai_refusals(*statuses: int) -> Responses:
    """Errors of these statuses, and all others, in OpenAI's shape."""
    shape = OpenAIError.__name__
    return {"default": _response(_OTHER, JSON, shape)} | _described(statuses, JSON, shape)


def _described(statuses: tuple[int, ...], media_type: str, model: str) -> Responses:
    responses: Responses = {}
    for status in statuses:
        responses[status] = _response(_MEANINGS[status], media_type, model)
        if status in _HEADERS:
            headers = _HEADERS[status].items()
            responses[status]["headers"] = {name: _header(about) for name, about in headers}
    return responses


def _response(description: str, media_type: str, model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
