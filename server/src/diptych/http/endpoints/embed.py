"""`/embed`: texts and images to embeddings."""

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
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import BINARY, body_of
from diptych.http.endpoints.references import ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, Responses, refusals
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
from diptych.http.middleware.body_budget import room_of
from diptych.http.options import BodyLimits, HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json, read_json
from diptych.http.parsing.json_images import check_image_bytes, read_image
from diptych.http.parsing.limits import check_count, check_lengths, check_text
from diptych.http.parsing.multipart import Part, read_parts
from diptych.http.parsing.request_models import (
    IMAGE_FIELD,
    EncodingFormat,
    ImageUri,
    Listed,
    NoQuery,
    RequestModel,
    require_exactly_one,
)
from diptych.http.respond import encode_embedding, sized_json_response
from diptych.http.state import at_work

ACCEPTED = (JSON, MULTIPART, ANY_IMAGE, TEXT)
N_OPTIONS = 1  # form fields beside the items
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
    """The part of an embedding that is the same in JSON and in a form."""

    encoding_format: EncodingFormat = "float"


class EmbedRequest(EmbedOptions):
    """`POST /embed` as JSON."""

    input: Listed[EmbedItem] = Field(min_length=1, json_schema_extra=schemas.limited(maxItems="max_items"))


class EmbeddedItem(BaseModel):
    """`embedding`: floats, or base64 of little-endian float32. `truncated`: the text was cut."""

    index: int
    embedding: list[float] | str
    truncated: bool = False


class EmbedResponse(BaseModel):
    """One row per item, in the order of the request."""

    model: ModelRef
    data: list[EmbeddedItem]


router = APIRouter(tags=["encode"], responses=refusals(*GUARDED))
_ROWS: Responses = {200: {"content": {OCTETS: BINARY}}}
_FORM = schemas.form(
    {
        "image": schemas.some(schemas.FILE, limit="max_items"),
        "text": schemas.some(schemas.TEXT, limit="max_items"),
        "encoding_format": {"enum": ["float", "base64"]},
    },
    anyOf=[{"required": ["image"]}, {"required": ["text"]}],
)


@router.post(
    "/embed",
    response_model=EmbedResponse,
    responses=_ROWS | refusals(*BODY),
    openapi_extra=body_of(EmbedRequest, _FORM, (ANY_IMAGE, TEXT)),
)
async def embed(request: Request, _: NoQuery) -> Response:
    """Embed texts and images into one space; embeddings have unit norm.

    A form is answered in the order of its parts. `Accept: application/octet-stream` gets the rows as raw
    little-endian float32, their shape in X-Diptych-Shape. One bad item fails the request and is named.
    """
    services, options = at_work(request)
    context, model = context_of(request), ModelRef.of(services.model)
    with context.stage("parse"):
        asked = await read_embed(request, options)
    with context.stage("work"):
        embedding = embed_items(
            asked.items,
            "input",
            image_urls=services.image_urls,
            embedder=services.embedder,
            reserve=room_of(request),
        )
        rows = await while_connected(request, embedding)
    if wants_octets(request):
        truncated = [i for i, row in enumerate(rows) if row.truncated]
        return octets_response(np.stack([row.embedding for row in rows]), model, truncated)
    n_numbers = sum(len(row.embedding) for row in rows)
    return await sized_json_response(request, n_numbers, lambda: _answer(model, rows, asked.encoding_format))


def _answer(model: ModelRef, rows: Sequence[TextEmbedding], encoding_format: EncodingFormat) -> EmbedResponse:
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
    """(N, D) as raw little-endian float32 rows; what JSON says beside them is in headers."""
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


Item = str | bytes | ImageUrl  # a text, or the bytes of an image file, here or elsewhere


@dataclass(frozen=True)
class ParsedEmbed:
    """What to embed, in the order of the request; errors name `input[i]`."""

    items: Sequence[Item]
    encoding_format: EncodingFormat = "float"


async def read_embed(request: Request, options: HttpOptions) -> ParsedEmbed:
    """Any of the accepted bodies. Raises InputError naming the item, HTTPException 415 and 408."""
    kind, limits = media_type(request), options.limits
    if kind == JSON:
        return await read_json(await read_body(request, options.body), partial(_from_json, limits=limits))
    if kind == MULTIPART:
        parts = await read_parts(
            request, options.body, limits.max_items + N_OPTIONS, f"at most {limits.max_items} items"
        )
        return _from_form(Form(parts, ("image", "text", "encoding_format")), limits)
    if kind.startswith("image/"):
        payload = await read_body(request, BodyLimits(limits.max_image_bytes, limits.body_timeout_s))
        return ParsedEmbed([check_image_bytes(bytes(payload), "input[0]", limits.max_image_bytes)])
    if kind == TEXT:
        return ParsedEmbed([_from_text(await read_body(request, options.body), limits)])
    raise unsupported(request, ACCEPTED)


def _from_json(body: bytearray, limits: Limits) -> ParsedEmbed:
    asked = validated(EmbedRequest, check_lengths(parse_json(body), {"input": limits.max_items}))
    items = [_from_item(item, f"input[{i}]", limits) for i, item in enumerate(asked.input)]
    return ParsedEmbed(items, asked.encoding_format)


def _from_item(item: EmbedItem, name: str, limits: Limits) -> Item:
    if item.image is not None:
        return read_image(item.image, name, limits.max_image_bytes)
    assert item.text is not None, "validated"
    return check_text(item.text, name, limits)


def _from_form(form: Form, limits: Limits) -> ParsedEmbed:
    parts = list(form.parts("image", "text"))
    check_count(parts, "input", limits.max_items)
    items = [_from_part(part, f"input[{i}]", limits) for i, part in enumerate(parts)]
    options = validated(EmbedOptions, form.given("encoding_format"), strict=False)
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
