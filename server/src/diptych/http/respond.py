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


def encode_embedding(embedding: Embedding, encoding_format: EncodingFormat) -> list[float] | str:
    """(D,) as a list of numbers, or as base64 of little-endian float32."""
    if encoding_format == "base64":
        return base64.b64encode(embedding.astype("<f4").tobytes()).decode()
    numbers: list[float] = np.asarray(embedding).tolist()
    return numbers
