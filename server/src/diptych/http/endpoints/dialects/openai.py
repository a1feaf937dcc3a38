"""`/v1`: embeddings in OpenAI's format, and as clients of infinity, Jina and vLLM send and read them."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diptych.core.encoding.embed import check_dimensions, embed_items, shortened
from diptych.core.services import Services
from diptych.core.types import Embedding, ModelInfo, TextEmbedding
from diptych.errors import NotFound, NotReady
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.dialects.openai_request import (
    Encoding,
    OpenAIEmbeddingRequest,
    ParsedRequest,
    parse_embedding_request,
)
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, openai_errors
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import read_json
from diptych.http.respond import encode_embedding, json_response, sized_json_response
from diptych.http.state import ReadyServices, ready_services


class OpenAIEmbedding(BaseModel):
    """One embedding, in OpenAI's format."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | list[int] | str = Field(
        description="floats; base64 of little-endian float32; or integers of 8 bits each"
    )


class OpenAIUsage(BaseModel):
    """Token counts of the texts, start and end tokens included."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """`POST /v1/embeddings`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.0131, -0.0482, 0.0955]}],
                    "model": "everyday",
                    "usage": {"prompt_tokens": 4, "total_tokens": 4},
                }
            ]
        }
    )

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


_MODEL = {"id": "everyday", "object": "model", "created": 1772443800, "owned_by": "diptych"}


class OpenAIModel(BaseModel):
    """The served model, in OpenAI's format."""

    model_config = ConfigDict(json_schema_extra=schemas.example(_MODEL))

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: Literal["diptych"] = "diptych"


class OpenAIModels(BaseModel):
    """`GET /v1/models`."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"object": "list", "data": [_MODEL]}),
    )

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class InfinityHealth(BaseModel):
    """The server can take requests."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"unix": 1772443800.25}))

    unix: float = Field(description="Unix time")


# Unknown query parameters are ignored here: clients of OpenAI may send their own.
router = APIRouter(
    prefix="/v1", tags=["OpenAI"], responses=openai_errors(*COMMON_ERRORS), route_class=GuardedRoute
)


@router.post(
    "/embeddings",
    summary="Embed as with OpenAI",
    operation_id="openai_embeddings",
    response_model=OpenAIEmbeddings,
    responses=openai_errors(404, *BODY_ERRORS),
    openapi_extra=request_body(OpenAIEmbeddingRequest),
)
@needs("read")
async def embeddings(request: Request) -> Response:
    """Embed texts and images. `model` must be the served model, as its name or `name/version`.

    Takes what clients of OpenAI, infinity (`modality`), Jina (items of `text`, `image`, `url` or `bytes`) and
    vLLM (`messages`) send. A string of `input` is a text, or an image if it is a data URI.
    """
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        body, items = await _read(request, options)
    with context.stage("work"), services.serving.use() as snapshot:
        dimensions = _check_model(body, snapshot.version.model)
        embedding = embed_items(
            items,
            "input" if body.messages is None else "messages",
            image_urls=services.image_urls,
            embedder=snapshot.version.embedder,
            reserve=memory_reserver(request),
        )
        rows = await cancel_on_disconnect(request, embedding)
    rows = shortened(rows, dimensions)
    return await sized_json_response(request, len(rows) * dimensions, lambda: _response(body, rows))


@router.get(
    "/models", summary="List models as with OpenAI", operation_id="openai_models", response_model=OpenAIModels
)
@needs("read")
async def models(request: Request, services: ReadyServices) -> Response:
    """List the served model."""
    return json_response(request, OpenAIModels(data=[_served_model(services)]))


@router.get(
    "/models/{model}",
    summary="Show a model as with OpenAI",
    operation_id="openai_model",
    response_model=OpenAIModel,
    responses=openai_errors(404),
)
@needs("read")
async def model(request: Request, services: ReadyServices, model: str) -> Response:
    """Show the served model by its name."""
    served = _served_model(services)
    if model != served.id:
        raise _not_served(model, served.id)
    return json_response(request, served)


@router.get(
    "/health",
    summary="Check health as with infinity",
    operation_id="openai_health",
    response_model=InfinityHealth,
)
@needs("read")
async def health(request: Request, services: ReadyServices) -> Response:
    """Whether the server can take requests, for clients of infinity; 503 with the reason if not."""
    report = await services.report()
    if not report.ready:
        raise NotReady(report.reason)
    return json_response(request, InfinityHealth(unix=time.time()))


async def _read(request: Request, options: HttpOptions) -> ParsedRequest:
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = await read_body(request, options.body)
    return await read_json(body, partial(parse_embedding_request, limits=options.limits))


def _served_model(services: Services) -> OpenAIModel:
    created = int(services.started_at.timestamp())
    return OpenAIModel(id=services.serving.current.version.model.name, created=created)


def _not_served(requested: str, served: str) -> NotFound:
    return NotFound(f"model {requested[:100]!r} is not served here, {served!r} is")


def _check_model(body: OpenAIEmbeddingRequest, model: ModelInfo) -> int:
    """The number of dimensions of the answer.

    Raises NotFound for a model that is not active, InvalidValue for dimensions that it cannot have.
    """
    if body.model not in {model.name, f"{model.name}/{model.version}"}:
        raise _not_served(body.model, model.name)
    if body.dimensions:
        return check_dimensions(model, body.dimensions, "dimensions")
    return check_dimensions(model, body.output_dimension, "output_dimension")


def _response(body: OpenAIEmbeddingRequest, rows: Sequence[TextEmbedding]) -> OpenAIEmbeddings:
    n_tokens = sum(row.n_tokens for row in rows)
    return OpenAIEmbeddings(
        data=[
            OpenAIEmbedding(index=i, embedding=_encoded(row.embedding, body.encoding))
            for i, row in enumerate(rows)
        ],
        model=body.model,
        usage=OpenAIUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )


def _encoded(embedding: Embedding, encoding: Encoding) -> list[float] | list[int] | str:
    """(D,) as numbers, as base64, or as D / 8 integers whose bits say which numbers are positive."""
    if encoding in {"float", "base64"}:
        return encode_embedding(embedding, encoding)
    packed = np.packbits(embedding > 0).astype(int)
    bits: list[int] = (packed if encoding == "ubinary" else packed - 128).tolist()
    return bits
