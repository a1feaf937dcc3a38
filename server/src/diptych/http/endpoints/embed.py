"""`/embed`: embed texts and images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Self

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from starlette.responses import Response

from diptych.core.encoding.embed import embed_items
from diptych.core.fetching.image_urls import ImageUrl
from diptych.core.limits import Limits
from diptych.core.timing import note
from diptych.core.types import Embeddings, TextEmbedding
from diptych.errors import Malformed
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import BINARY, request_body
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import (
    ANY_IMAGE,
    JSON,
    MULTIPART,
    OCTETS,
    TEXT,
    media_type,
    unsupported,
    wants_octets,
)
from diptych.http.middleware.body_budget import memory_reserver
from diptych.http.options import BodyLimits, HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, parse_image_uri
from diptych.http.parsing.limits import check_count, check_lengths, check_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    EncodingFormat,
    FailFastList,
    ImageUri,
    NoQuery,
    RequestModel,
    require_exactly_one,
)
from diptych.http.respond import encode_embedding, sized_json_response
from diptych.http.state import ready_services

_ACCEPTED = (JSON, MULTIPART, ANY_IMAGE, TEXT)
_N_OPTION_FIELDS = 1  # in addition to the items
Item = str | bytes | ImageUrl  # a text, the bytes of an image file, or the URL of one
Text = Annotated[str, WithJsonSchema(schemas.TEXT)]


class EmbedItem(RequestModel):
    """One text or one image."""

    model_config = ConfigDict(json_schema_extra=schemas.exactly_one("text", "image"))

    text: Text | None = None
    image: ImageUri | None = IMAGE_FIELD

    @model_validator(mode="after")
    def _one(self) -> Self:
        return require_exactly_one(self, "text", "image")


class EmbedOptions(RequestModel):
    """Options of `/embed`, in JSON and in a form."""

    encoding_format: EncodingFormat = "float"


class EmbedRequest(EmbedOptions):
    """`POST /embed` as JSON."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"input": [{"text": "a cat"}, {"image": schemas.EXAMPLE_URI}]})
    )

    input: FailFastList[EmbedItem] = Field(
        min_length=1, json_schema_extra=schemas.limited(maxItems="max_items")
    )


class EmbeddedItem(BaseModel):
    """`embedding`: floats, or base64 of little-endian float32.

    `truncated`: the text was too long and was cut.
    """

    index: int
    embedding: list[float] | str
    truncated: bool = False


class EmbedResponse(BaseModel):
    """One row per item, in the order of the request."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {
                "model": EXAMPLE_MODEL,
                "data": [
                    {"index": 0, "embedding": [0.0131, -0.0482, 0.0955], "truncated": False},
                    {"index": 1, "embedding": [0.0254, 0.0917, -0.0306], "truncated": False},
                ],
            }
        )
    )

    model: ModelRef
    data: list[EmbeddedItem]


router = APIRouter(tags=["encode"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_ROWS: Responses = {200: {"content": {OCTETS: BINARY}}}
_FORM = schemas.form(
    {
        "image": schemas.non_empty_list(schemas.FILE, limit="max_items"),
        "text": schemas.non_empty_list(schemas.TEXT, limit="max_items"),
        "encoding_format": {"enum": ["float", "base64"]},
    },
    anyOf=[{"required": ["image"]}, {"required": ["text"]}],
    examples=[{"image": [schemas.EXAMPLE_FILE], "text": ["a cat"]}],
)


@router.post(
    "/embed",
    summary="Embed texts and images",
    response_model=EmbedResponse,
    responses=_ROWS | documented_errors(*BODY_ERRORS),
    openapi_extra=request_body(EmbedRequest, _FORM, (ANY_IMAGE, TEXT)),
)
@needs("read")
async def embed(request: Request, _: NoQuery) -> Response:
    """Embed texts and images into one space; embeddings have unit norm.

    Embeddings are in the order of the input, for a form in the order of its parts. With `Accept:
    application/octet-stream` the response has the rows as raw little-endian float32, and their shape in
    X-Diptych-Shape. One invalid item fails the whole request, and the error names it.
    """
    services, options = ready_services(request)
    context = context_of(request)
    with context.stage("parse"):
        parsed = await read_embed(request, options)
    with context.stage("work"), services.serving.use() as snapshot:
        model = ModelRef.of(snapshot.version.model)
        embedding = embed_items(
            parsed.items,
            "input",
            image_urls=services.image_urls,
            embedder=snapshot.version.embedder,
            reserve=memory_reserver(request),
        )
        rows = await cancel_on_disconnect(request, embedding)
    if wants_octets(request):
        truncated = [i for i, row in enumerate(rows) if row.truncated]
        return octets_response(np.stack([row.embedding for row in rows]), model, truncated)
    n_numbers = sum(len(row.embedding) for row in rows)
    return await sized_json_response(
        request, n_numbers, lambda: _response(model, rows, parsed.encoding_format)
    )


def _response(
    model: ModelRef, rows: Sequence[TextEmbedding], encoding_format: EncodingFormat
) -> EmbedResponse:
    data = [
        EmbeddedItem(
            index=i,
            embedding=encode_embedding(row.embedding, encoding_format),
            truncated=row.truncated,
        )
        for i, row in enumerate(rows)
    ]
    return EmbedResponse(model=model, data=data)


def octets_response(rows: Embeddings, model: ModelRef, truncated: list[int]) -> Response:
    """(N, D) as raw little-endian float32 rows. Headers hold the other fields of the JSON answer."""
    headers = {
        "X-Diptych-Model": model.name,
        "X-Diptych-Version": str(model.version),
        "X-Diptych-Precision": model.precision,
        "X-Diptych-Decode": model.decode,
        "X-Diptych-Shape": ",".join(map(str, rows.shape)),
    }
    if truncated:
        headers["X-Diptych-Truncated"] = ",".join(map(str, truncated))
    began = time.perf_counter()
    payload = rows.astype("<f4").tobytes()
    note("serialise", began, time.perf_counter())
    return Response(payload, 200, headers, OCTETS)


@dataclass(frozen=True)
class ParsedEmbed:
    """The items to embed, in the order of the request. Errors name them `input[i]`."""

    items: Sequence[Item]
    encoding_format: EncodingFormat = "float"


async def read_embed(request: Request, options: HttpOptions) -> ParsedEmbed:
    """Read any of the accepted bodies. Raises InputError that names the item, HTTPException 415 and 408."""
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, limits=limits))
    if kind == MULTIPART:
        parts = await read_parts(
            request, options.body, limits.max_items + _N_OPTION_FIELDS, f"at most {limits.max_items} items"
        )
        return _from_form(Form(parts, ("image", "text", "encoding_format")), limits)
    if kind.startswith("image/"):
        payload = await read_body(request, BodyLimits(limits.max_image_bytes, limits.body_timeout_s))
        return ParsedEmbed([check_image_bytes(bytes(payload), "input[0]", limits.max_image_bytes)])
    if kind == TEXT:
        return ParsedEmbed([_from_text(await read_body(request, options.body), limits)])
    raise unsupported(request, _ACCEPTED)


def _from_json(body: bytearray, limits: Limits) -> ParsedEmbed:
    body_model = validated(EmbedRequest, check_lengths(parse_json(body), {"input": limits.max_items}))
    items = [_from_item(item, f"input[{i}]", limits) for i, item in enumerate(body_model.input)]
    return ParsedEmbed(items, body_model.encoding_format)


def _from_item(item: EmbedItem, name: str, limits: Limits) -> Item:
    if item.image is not None:
        return parse_image_uri(item.image, name, limits.max_image_bytes)
    assert item.text is not None, "validated"
    return check_text(item.text, name, limits)


def _from_form(form: Form, limits: Limits) -> ParsedEmbed:
    parts = list(form.parts("image", "text"))
    check_count(parts, "input", limits.max_items)
    items = [_from_part(part, f"input[{i}]", limits) for i, part in enumerate(parts)]
    options = validated(EmbedOptions, form.values("encoding_format"), strict=False)
    return ParsedEmbed(items, options.encoding_format)


def _from_part(part: Part, name: str, limits: Limits) -> Item:
    if part.name == "image":
        return check_image_bytes(part.data, name, limits.max_image_bytes)
    return check_text(part.text(name), name, limits)


def _from_text(body: bytearray, limits: Limits) -> str:
    try:
        return check_text(body.decode(), "input[0]", limits)
    except UnicodeDecodeError as error:
        raise Malformed(f"text must be UTF-8, byte {error.start} is not", "input[0]") from None
