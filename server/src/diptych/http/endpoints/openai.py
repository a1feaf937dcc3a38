"""`/v1`: text embeddings in OpenAI's format, for programs that use it already."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.responses import Response

from diptych.core.encoding.embed import embed_text_list
from diptych.core.types import ModelInfo, TextEmbedding
from diptych.errors import InvalidValue, NotFound
from diptych.http.access import GuardedRoute
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, openai_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import is_data_uri
from diptych.http.parsing.limits import check_count, check_lengths, check_texts
from diptych.http.parsing.request_models import EncodingFormat, FailFastList, PositiveInt, RequestModel
from diptych.http.respond import encode_embedding, json_response, sized_json_response
from diptych.http.state import ReadyServices, ready_services

OpenAIText = Annotated[str, WithJsonSchema(schemas.NO_IMAGE)]
OpenAITexts = Annotated[
    FailFastList[str], WithJsonSchema(schemas.non_empty_list(schemas.NO_IMAGE, limit="max_openai_inputs"))
]


class OpenAIEmbeddingRequest(RequestModel):
    """`POST /v1/embeddings`."""

    input: OpenAIText | OpenAITexts
    model: str
    encoding_format: EncodingFormat = "float"
    dimensions: PositiveInt | None = None
    user: str | None = None


class OpenAIEmbedding(BaseModel):
    """One embedding, in OpenAI's format."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIUsage(BaseModel):
    """Token counts, start and end tokens included."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """`POST /v1/embeddings`."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(BaseModel):
    """The served model, in OpenAI's format."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: Literal["diptych"] = "diptych"


class OpenAIModels(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


# Unknown query parameters are ignored here: clients of OpenAI may send their own.
router = APIRouter(
    prefix="/v1", tags=["OpenAI"], responses=openai_errors(*COMMON_ERRORS), route_class=GuardedRoute
)


@router.post(
    "/embeddings",
    response_model=OpenAIEmbeddings,
    responses=openai_errors(404, *BODY_ERRORS),
    openapi_extra=request_body(OpenAIEmbeddingRequest),
)
async def embeddings(request: Request) -> Response:
    """Embed one text or a list of texts. `model` must be the served model, as its name or `name/version`.

    Images are not accepted here: a data URI is a 422. Send images to `POST /embed`.
    """
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        body = await _read(request, options)
        texts = [body.input] if isinstance(body.input, str) else body.input
        check_count(texts, "input", options.limits.max_openai_inputs)
        check_texts(texts, "input", options.limits)
    with context.stage("work"), services.active.using() as active:
        _check_model(body, active.model)
        rows = await cancel_on_disconnect(request, embed_text_list(texts, "input", embedder=active.embedder))
    return await sized_json_response(
        request, sum(len(row.embedding) for row in rows), lambda: _response(body, rows)
    )


@router.get("/models", response_model=OpenAIModels)
async def models(request: Request, services: ReadyServices) -> Response:
    """List the served model."""
    created = int(services.started_at.timestamp())
    name = services.active.now.model.name
    return json_response(request, OpenAIModels(data=[OpenAIModel(id=name, created=created)]))


async def _read(request: Request, options: HttpOptions) -> OpenAIEmbeddingRequest:
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    limits = {"input": options.limits.max_openai_inputs}
    return await read_json(
        await read_body(request, options.body),
        lambda payload: validated(
            OpenAIEmbeddingRequest, _without_images(check_lengths(parse_json(payload), limits))
        ),
    )


def _check_model(body: OpenAIEmbeddingRequest, model: ModelInfo) -> None:
    """Raise NotFound for a model that is not active, InvalidValue for another number of dimensions."""
    if body.model not in {model.name, f"{model.name}/{model.version}"}:
        raise NotFound(f"model {body.model[:100]!r} is not served here, {model.name!r} is")
    if body.dimensions not in {None, model.embed_dim}:
        message = f"is {body.dimensions}, the model's embeddings have {model.embed_dim} dimensions"
        raise InvalidValue(message, "dimensions")


def _without_images(data: object) -> object:
    """Return the parsed JSON.

    Raises InvalidValue that names the first input that is an object or a data URI.
    """
    value = data.get("input") if isinstance(data, dict) else None
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(item, dict) or (isinstance(item, str) and is_data_uri(item)):
            found = "an object" if isinstance(item, dict) else "a data URI"
            message = f"must be a text, got {found}: images are embedded by POST /embed"
            raise InvalidValue(message, f"input[{i}]" if isinstance(value, list) else "input")
    return data


def _response(body: OpenAIEmbeddingRequest, rows: list[TextEmbedding]) -> OpenAIEmbeddings:
    n_tokens = sum(row.n_tokens for row in rows)
    return OpenAIEmbeddings(
        data=[
            OpenAIEmbedding(index=i, embedding=encode_embedding(row.embedding, body.encoding_format))
            for i, row in enumerate(rows)
        ],
        model=body.model,
        usage=OpenAIUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )
