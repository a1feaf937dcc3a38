"""Serialise responses, and time it."""

import asyncio
import base64
from collections.abc import Callable

import numpy as np
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from diptych.core.types import Embedding
from diptych.http.context import context_of
from diptych.http.media_types import JSON
from diptych.http.parsing.request_models import EncodingFormat

# A stored file may be anything that a client sent: a browser may show it, but must not run scripts in it.
_NO_SCRIPTS = "default-src 'none'; sandbox"
MAX_VALUES_ON_LOOP = 2_000  # numbers or strings; they take a tenth of a millisecond


def json_response(request: Request, content: BaseModel, status: int = 200) -> Response:
    """A JSON response."""
    with context_of(request).stage("serialise"):
        return Response(content.model_dump_json(), status, media_type=JSON)


async def sized_json_response(request: Request, n_values: int, make: Callable[[], BaseModel]) -> Response:
    """A JSON response with the content that `make` builds. A large one is built in a thread.

    Building many values would block other requests; handing a small response to a thread costs more than
    building it.
    """
    with context_of(request).stage("serialise"):
        if n_values <= MAX_VALUES_ON_LOOP:
            body = make().model_dump_json()
        else:
            body = await asyncio.to_thread(lambda: make().model_dump_json())
    return Response(body, media_type=JSON)


def is_current(request: Request, tag: str) -> bool:
    """Whether the client has the file with this ETag, by `If-None-Match`."""
    offered = request.headers.get("if-none-match", "")
    return tag in {part.strip().removeprefix("W/") for part in offered.split(",")}


def not_modified(tag: str) -> Response:
    """The answer to a client that has the file already."""
    return Response(status_code=304, headers=_file_headers(tag))


def file_response(payload: bytes, tag: str, media_type: str) -> Response:
    """A file that somebody has sent to the server."""
    return Response(payload, headers=_file_headers(tag), media_type=media_type)


def _file_headers(tag: str) -> dict[str, str]:
    # The path may soon have another file, so browsers must ask each time; mostly they get a 304.
    return {"ETag": tag, "Cache-Control": "private, no-cache", "Content-Security-Policy": _NO_SCRIPTS}


def encode_embedding(embedding: Embedding, encoding_format: EncodingFormat) -> list[float] | str:
    """(D,) as a list of numbers, or as base64 of little-endian float32."""
    if encoding_format == "base64":
        return base64.b64encode(embedding.astype("<f4").tobytes()).decode()
    numbers: list[float] = np.asarray(embedding).tolist()
    return numbers
