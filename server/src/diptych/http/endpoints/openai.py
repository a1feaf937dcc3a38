"""`/v1`: text embeddings in OpenAI's shape, for programs that speak it already."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.responses import Response

from diptych.core.encoding.embed import embed_text_list
from diptych.core.services import Services
from diptych.core.types import TextEmbedding
from diptych.errors import InvalidValue, NotFound
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.errors.documented_errors import BODY, GUARDED, openai_refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import is_data_uri
from diptych.http.parsing.limits import check_count, check_lengths, check_texts
from diptych.http.parsing.request_models import EncodingFormat, Listed, Positive, RequestModel
from diptych.http.respond import encode_embedding, json_response, sized_json_response
from diptych.http.state import ReadyServices, at_work

OpenAIText = Annotated[str, WithJsonSchema(schemas.NO_IMAGE)]
OpenAITexts = Annotated[
    Listed[str], WithJsonSchema(schemas.some(schemas.NO_IMAGE, limit="max_openai_inputs"))
]


class OpenAIEmbeddingRequest(RequestModel):
    """`POST /v1/embeddings`."""

    input: OpenAIText | OpenAITexts
    model: str
    encoding_format: EncodingFormat = "float"
    dimensions: Positive | None = None
    user: str | None = None


class OpenAIEmbedding(BaseModel):
    """One row in OpenAI's shape."""

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
    """One served model in OpenAI's shape."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: Literal["diptych"] = "diptych"


class OpenAIModels(BaseModel):
    """`GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


# Programs of others may say more in their query string than is read.
router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=openai_refusals(*GUARDED))


@router.post(
    "/embeddings",
    response_model=OpenAIEmbeddings,
    responses=openai_refusals(404, *BODY),
    openapi_extra=body_of(OpenAIEmbeddingRequest),
)
async def embeddings(request: Request) -> Response:
    """Embed one text or a list of texts. `model` must be the served one, as its name or `name/version`.

    Images are not taken here: a data URI is refused with a 422. Send images to `POST /embed`.
    """
    services, options = at_work(request)
    context = context_of(request)
    with context.stage("parse"):
        asked = await _read(request, services, options)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        check_count(texts, "input", options.limits.max_openai_inputs)
        check_texts(texts, "input", options.limits)
    with context.stage("work"):
        rows = await while_connected(request, embed_text_list(texts, "input", embedder=services.embedder))
    return await sized_json_response(
        request, sum(len(row.embedding) for row in rows), lambda: _answer(asked, rows)
    )


@router.get("/models", response_model=OpenAIModels)
async def models(request: Request, services: ReadyServices) -> Response:
    """The served model."""
    created = int(services.started_at.timestamp())
    return json_response(request, OpenAIModels(data=[OpenAIModel(id=services.model.name, created=created)]))


async def _read(request: Request, services: Services, options: HttpOptions) -> OpenAIEmbeddingRequest:
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    limits = {"input": options.limits.max_openai_inputs}
    asked = await read_json(
        await read_body(request, options.body),
        lambda body: validated(
            OpenAIEmbeddingRequest, _without_images(check_lengths(parse_json(body), limits))
        ),
    )
    model = services.model
    if asked.model not in {model.name, f"{model.name}/{model.version}"}:
        raise NotFound(f"model {asked.model[:100]!r} is not served here, {model.name!r} is")
    if asked.dimensions not in {None, model.embed_dim}:
        message = f"is {asked.dimensions}, the model's embeddings have {model.embed_dim} dimensions"
        raise InvalidValue(message, "dimensions")
    return asked


def _without_images(data: object) -> object:
    """Parsed JSON itself; InvalidValue names the first input that is a file or an object, as images are."""
    given = data.get("input") if isinstance(data, dict) else None
    for i, one in enumerate(given if isinstance(given, list) else [given]):
        if isinstance(one, dict) or (isinstance(one, str) and is_data_uri(one)):
            found = "an object" if isinstance(one, dict) else "a data URI"
            message = f"must be a text, got {found}: images are embedded by POST /embed"
            raise InvalidValue(message, f"input[{i}]" if isinstance(given, list) else "input")
    return data


def _answer(asked: OpenAIEmbeddingRequest, rows: list[TextEmbedding]) -> OpenAIEmbeddings:
    n_tokens = sum(row.n_tokens for row in rows)
    return OpenAIEmbeddings(
        data=[
            OpenAIEmbedding(index=i, embedding=encode_embedding(row.embedding, asked.encoding_format))
            for i, row in enumerate(rows)
        ],
        model=asked.model,
        usage=OpenAIUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )
