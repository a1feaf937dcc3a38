"""The error responses of a route, for the OpenAPI description, each with examples.

@router.get("/things/{id}", responses=documented_errors(404))
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from diptych.bundle.image.formats import MEDIA_TYPES
from diptych.errors import (
    Conflict,
    DiptychError,
    Forbidden,
    InvalidValue,
    Malformed,
    NotFound,
    NotReady,
    Overloaded,
    StoreFull,
    StoreReadOnly,
    TooLarge,
    UndecodableImage,
    UnsupportedImage,
)
from diptych.http.access import INVALID_KEY, NO_KEY, PUBLIC, Access
from diptych.http.errors.problem_json import (
    PROBLEM_JSON,
    HuggingFaceError,
    OpenAIError,
    Problem,
    http_problem,
    hugging_face_error,
    openai_error,
    problem_of,
)
from diptych.http.media_types import JSON
from diptych.http.query import unknown_parameter

COMMON_ERRORS = (
    401,
    403,
    422,
    503,
    504,
)  # key, host, parameters, loading, timeout: any route may return these
BODY_ERRORS = (400, 408, 413, 415, 422, 429)  # of reading a body and working on it

Responses = dict[int | str, dict[str, Any]]
AccessTable = Mapping[str, Mapping[str, Access]]

_MEANINGS = {
    400: "The body does not match its content type: it is cut off, not JSON, or not a form",
    401: "The API key is missing, wrong, expired or revoked",
    403: "The key does not allow this call, or Host or Origin is not this server",
    404: "There is no such model, version, rollout, collection, library, label set or image, or the key does "
    "not see it",
    408: "The body was not complete in time",
    409: "The name or id is taken, the collection belongs to a model that is not served, the version cannot "
    "be served here, the rollout has ended, or verdicts would be lost",
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
# Examples by status and name. A text is the detail of a problem of HTTP itself. Those of 404 have the name of
# the path parameter that names what is missing.
_EXAMPLES: dict[int, dict[str, DiptychError | str]] = {
    400: {"malformed": Malformed("not JSON: Expecting value at line 1, column 11")},
    401: {
        "no_key": NO_KEY,
        "invalid_key": INVALID_KEY,
    },
    403: {
        "host": "Host 'photos.example' is not a name of this server: if it is, add it to "
        "DIPTYCH_ALLOWED_HOSTS",
    },
    404: {
        "collection": NotFound("no collection named 'holiday'"),
        "id": NotFound("no image 'my-cat' in collection 'gallery'"),
        "label_set": NotFound("no label set named 'kind'"),
        "library": NotFound("no library named 'photos'"),
        "job": NotFound("no job '3f9a0c71d2b84e65'"),
        "name": NotFound("no model named 'mine'; there is: everyday"),
        "version": NotFound("model 'everyday' has no version 7; there is: 1, 2"),
        "rollout": NotFound("there is no rollout '9f2c41d07be84a53'"),
        "prefix": NotFound("no API key with prefix 'x4Tq9a'"),
    },
    405: {"method": "Method Not Allowed"},
    408: {"too_slow": "body was not complete: 48210 bytes in 30 s"},
    409: {
        "name_taken": Conflict("there is a collection named 'gallery' already"),
        "unserved": Conflict(
            "collection 'sketches' has vectors of model 'mine' and no images that could be embedded again, "
            "so that it can be read and deleted from only: mine/2 in fp32 cannot be loaded"
        ),
        "has_ended": Conflict("rollout '9f2c41d07be84a53' has ended: it is active"),
    },
    413: {
        "pixels": TooLarge("image has 90000000 pixels, limit is 50000000", "input[3]"),
        "items": TooLarge("300 items, limit is 256", "input"),
    },
    429: {"queue_full": Overloaded("the queue is full: 512 of 512 items, 61440000 of 268435456 bytes")},
    503: {
        "loading": NotReady("the model is being loaded"),
        "read_only": StoreReadOnly("the database: the disk of the data folder is read-only"),
    },
    504: {"too_late": "the request was not answered within 30 s"},
    507: {
        "quota": StoreFull(
            "the data folder would have 10000482304 bytes, the limit is 10000000000 (DIPTYCH_MAX_DATA_BYTES)"
        )
    },
}
_BROKEN_IMAGE = "image file is truncated (3 bytes not processed)"
# Instead of the above, in the shapes of other services: their requests have names of their own.
_EXAMPLES_OF_SHAPES: dict[str, dict[int, dict[str, DiptychError | str]]] = {
    OpenAIError.__name__: {
        404: {"model": NotFound("model 'mine' is not served here, 'everyday' is")},
        422: {
            "dimensions": InvalidValue(
                "is 64, the model's embeddings have 448 dimensions and must not be cut: its version does not "
                "allow it",
                "dimensions",
            ),
            "image": UndecodableImage(_BROKEN_IMAGE, "input[0]"),
        },
    },
    HuggingFaceError.__name__: {
        413: {
            "pixels": TooLarge("image has 90000000 pixels, limit is 50000000", "inputs"),
        },
        422: {"image": UndecodableImage(_BROKEN_IMAGE, "inputs")},
    },
}
_TAKE_IMAGES = {"/embed", "/classify", "/search", "/collections/{collection}/images"}
_REQUEST_ID = "dfce98b90c5f4a6c8d7e1b2a3f405162"
_NO_ERRORS = {"200", "201", "202", "204", "304"}
_PARAMETER = re.compile(r"\{(\w+)\}")
_SHAPES: dict[str, Callable[[Problem], BaseModel]] = {
    Problem.__name__: lambda problem: problem,
    OpenAIError.__name__: openai_error,
    HuggingFaceError.__name__: hugging_face_error,
}
_NAMED_IN_BODIES = {"collection", "id"}  # what a 404 of a path without parameters is about


def documented_errors(*statuses: int) -> Responses:
    """Describe problems (RFC 9457) with these statuses."""
    return _responses(statuses, PROBLEM_JSON, Problem.__name__)


def other_errors() -> Responses:
    """Describe the errors that any route may return in addition to those that it names."""
    return {"default": _response(_OTHER, PROBLEM_JSON, Problem.__name__)}


def openai_errors(*statuses: int) -> Responses:
    """Describe errors with these statuses, and all others, in OpenAI's shape."""
    return _in_shape(OpenAIError, statuses)


def hugging_face_errors(*statuses: int) -> Responses:
    """Describe errors with these statuses, and all others, in Hugging Face's shape."""
    return _in_shape(HuggingFaceError, statuses)


def share_errors(paths: dict[str, Any], access: AccessTable) -> dict[str, Any]:
    """Replace the error responses of all calls by references. `access`: what each call needs.

    Returns what these refer to, with examples.
    """
    shared: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for path, calls in paths.items():
        for method, call in calls.items():
            responses = call["responses"]
            for status in sorted(responses.keys() - _NO_ERRORS):
                needed = access.get(path, {}).get(method.upper(), PUBLIC)
                response = _with_examples(responses[status], status, path, needed, call)
                text = json.dumps(response, sort_keys=True)
                if text not in names:
                    names[text] = _free_name(response, status, shared)
                    shared[names[text]] = response
                responses[status] = {"$ref": f"#/components/responses/{names[text]}"}
    return shared


def _free_name(response: Mapping[str, Any], status: str, taken: Mapping[str, Any]) -> str:
    (content,) = response["content"].values()
    parts = [_model_of(content), status, *(content["examples"] if status == "404" else ())]
    name = "_".join(parts)
    return next(
        free for n in range(len(taken) + 1) if (free := f"{name}_{n + 1}" if n else name) not in taken
    )


def _with_examples(
    response: dict[str, Any], status: str, path: str, needed: Access, call: Mapping[str, Any]
) -> dict[str, Any]:
    ((media_type, content),) = response["content"].items()
    model, number = _model_of(content), 405 if status == "default" else int(status)
    errors = _EXAMPLES_OF_SHAPES.get(model, {}).get(number) or _errors_of(number, path, needed, call)
    examples = {name: {"value": _value(model, number, error)} for name, error in errors.items()}
    return {**response, "content": {media_type: {**content, "examples": examples}}}


def _errors_of(
    status: int, path: str, needed: Access, call: Mapping[str, Any]
) -> Mapping[str, DiptychError | str]:
    """Examples of errors that this call may answer."""
    if status == 403:
        return _scope_errors(needed) | _EXAMPLES[403]
    if status == 404:
        named = set(_PARAMETER.findall(path)) or _NAMED_IN_BODIES
        return {name: error for name, error in _EXAMPLES[404].items() if name in named}
    if status == 415:
        return _media_type_errors(path, call)
    if status == 422:
        return _value_errors(path, call)
    return _EXAMPLES[status]


def _scope_errors(access: Access) -> dict[str, DiptychError | str]:
    if access.scope in {"write", "admin"}:
        text = f"this call needs a key with scope {access.scope!r}, key 'notebook' has read"
        return {"scope": Forbidden(text)}
    if access.concern == "all":
        text = "this call concerns all collections, key 'notebook' is limited to some of them"
        return {"limited": Forbidden(text)}
    return {}


def _media_type_errors(path: str, call: Mapping[str, Any]) -> dict[str, DiptychError | str]:
    accepted = " or ".join(call["requestBody"]["content"])
    errors: dict[str, DiptychError | str] = {"media_type": f"cannot read text/csv, send {accepted}"}
    if path in _TAKE_IMAGES:
        formats = ", ".join(MEDIA_TYPES)
        errors["image"] = UnsupportedImage(f"not an image in one of: {formats}", "input[0]")
    return errors


def _value_errors(path: str, call: Mapping[str, Any]) -> dict[str, DiptychError | str]:
    known = [one["name"] for one in call.get("parameters", ()) if one["in"] == "query"]
    errors: dict[str, DiptychError | str] = {"parameter": unknown_parameter("limt", known)}
    if path in _TAKE_IMAGES:
        errors["image"] = UndecodableImage(_BROKEN_IMAGE, "input[0]")
    return errors


def _value(model: str, status: int, error: DiptychError | str) -> dict[str, Any]:
    if isinstance(error, str):
        problem = http_problem(status, error, _REQUEST_ID)
    else:
        problem = problem_of(error, _REQUEST_ID)
    return _SHAPES[model](problem).model_dump(exclude_none=model == Problem.__name__)


def _model_of(content: Mapping[str, Any]) -> str:
    return str(content["schema"]["$ref"]).rpartition("/")[2]


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
