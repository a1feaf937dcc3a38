"""`/collections/{collection}/vectors`: add ready-made vectors of the served model version."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from starlette.responses import Response

from diptych.core.types import ModelInfo, NewVector, VectorOrigin
from diptych.errors import InvalidValue
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import request_body
from diptych.http.endpoints.add_models import EXAMPLE_ITEMS, AddQuery, AddResponse, read_items, respond_add
from diptych.http.endpoints.references import EXAMPLE_MODEL
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MULTIPART, media_type, unsupported
from diptych.http.options import HttpOptions
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.form import Form
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_count, check_lengths
from diptych.http.parsing.multipart import read_parts
from diptych.http.parsing.request_models import (
    METADATA_RULES,
    FailFastList,
    ImageId,
    RequestModel,
    WholeNumber,
)
from diptych.http.state import Options, ReadyServices


class VectorModel(RequestModel):
    """The model that computed ready-made vectors, as `model` in the response of `/embed` has it."""

    name: str
    version: WholeNumber = Field(ge=1)
    precision: str | None = None
    decode: Literal["exact", "fast"] | None = None
    identity: str | None = Field(None, max_length=128)  # as in exported files


class VectorItem(RequestModel):
    """One ready-made vector of unit norm: numbers, or base64 of little-endian float32."""

    embedding: FailFastList[float] | str
    id: ImageId | None = None
    metadata: dict[str, Any] | None = Field(None, description=METADATA_RULES)


class AddVectorsRequest(RequestModel):
    """`POST /collections/{collection}/vectors` as JSON."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example(
            {"model": EXAMPLE_MODEL, "items": [{"embedding": [0.6, 0.8], **EXAMPLE_ITEMS[0]}]}
        )
    )

    model: VectorModel
    items: FailFastList[VectorItem] = Field(
        min_length=1, json_schema_extra=schemas.limited(maxItems="max_add_vectors")
    )


FLOAT = np.dtype("<f4")
MAX_KEYS = 2_000_000  # includes the keys of metadata
_FIELDS = ("model", "embeddings", "items")
_BOUND = "each field may occur once"
router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)
_FORM = schemas.form(
    {
        "model": schemas.json_field(
            schemas.ref("VectorModel"), "{name, version}, and if known precision and decode"
        ),
        "embeddings": {**schemas.FILE, "description": "rows of little-endian float32"},
        "items": schemas.json_field(
            schemas.non_empty_list(schemas.ref("AddItem"), limit="max_add_vectors"),
            "{id, metadata} of each row, in their order",
        ),
    },
    examples=[{"model": EXAMPLE_MODEL, "embeddings": schemas.EXAMPLE_FILE, "items": EXAMPLE_ITEMS}],
    required=("model", "embeddings"),
)


@router.post(
    "/collections/{collection}/vectors",
    summary="Add ready-made vectors to a collection",
    response_model=AddResponse,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS),
    openapi_extra=request_body(AddVectorsRequest, _FORM),
)
@needs("write", collections="path")
async def add_vectors(
    request: Request, services: ReadyServices, options: Options, collection: str, query: AddQuery
) -> Response:
    """Add vectors of unit norm that the served model version computed; those of another version are a 409.

    Ids, `replace` and outcomes are as for images. A vector can be searched and deleted, but it has no image:
    it has no thumbnail, and another version cannot embed it again.
    """
    context, collections = context_of(request), services.collections
    with context.stage("parse"):
        vectors = await read_vectors(
            request,
            options,
            lambda origin: collections.check_origin(collection, origin),
        )
    with context.stage("work"):
        adding = collections.add_vectors(collection, vectors.origin, vectors.items, replace=query.replace)
        added = await cancel_on_disconnect(request, adding)
    return await respond_add(request, added, collection, "items[0]")


@dataclass(frozen=True)
class ParsedVectors:
    """N vectors, and the model that computed them."""

    origin: VectorOrigin
    items: Sequence[NewVector]


async def read_vectors(
    request: Request, options: HttpOptions, check: Callable[[VectorOrigin], ModelInfo]
) -> ParsedVectors:
    """Read either of the accepted bodies.

    `check` is called with their origin before the vectors are parsed, and returns the model that made them.

    Raises InputError that names `items[i]`, HTTPException 415 and 408, and whatever `check` raises.
    """
    kind, limit = media_type(request), options.limits.max_add_vectors
    if kind == JSON:
        body = await read_body(request, options.body)
        return await asyncio.to_thread(_from_json, body, limit, check)
    if kind == MULTIPART:
        form = Form(await read_parts(request, options.body, len(_FIELDS), _BOUND), _FIELDS)
        return await asyncio.to_thread(_from_form, form, limit, check)
    raise unsupported(request, (JSON, MULTIPART))


def _from_json(body: bytearray, limit: int, check: Callable[[VectorOrigin], ModelInfo]) -> ParsedVectors:
    data = parse_json(body, max_keys=MAX_KEYS)
    body_model = validated(AddVectorsRequest, check_lengths(data, {"items": limit}))
    check_count(body_model.items, "items", limit)
    origin = origin_of(body_model.model)
    check(origin)
    return ParsedVectors(
        origin,
        [
            NewVector(parse_vector(item.embedding, f"items[{i}].embedding"), item.id, item.metadata)
            for i, item in enumerate(body_model.items)
        ],
    )


def _from_form(form: Form, limit: int, check: Callable[[VectorOrigin], ModelInfo]) -> ParsedVectors:
    model = form.json("model")
    origin = origin_of(validated(VectorModel, {} if model is None else model))
    rows = _rows(form, check(origin).embed_dim)  # (N, D)
    check_count(rows, "embeddings", limit)
    items = read_items(form, len(rows), "embeddings", limit)
    return ParsedVectors(
        origin, [NewVector(row, item.id, item.metadata) for row, item in zip(rows, items, strict=True)]
    )


def _rows(form: Form, embed_dim: int) -> NDArray[np.float32]:
    parts = list(form.parts("embeddings"))
    if len(parts) != 1:
        raise InvalidValue(f"must occur once, occurs {len(parts)} times", "embeddings")
    n_bytes, row_bytes = len(parts[0].data), embed_dim * FLOAT.itemsize
    if n_bytes % row_bytes:
        raise InvalidValue(
            f"has {n_bytes} bytes, a row of {embed_dim} float32 numbers has {row_bytes}", "embeddings"
        )
    return np.frombuffer(parts[0].data, FLOAT).reshape(-1, embed_dim)


def parse_vector(embedding: list[float] | str, name: str) -> NDArray[np.float32]:
    """(D,), with any length. Numbers beyond float32 become infinite, which is rejected later."""
    if isinstance(embedding, list):
        with np.errstate(over="ignore"):
            return np.array(embedding, FLOAT)
    try:
        payload = base64.b64decode(embedding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"base64 is broken: {error}", name) from None
    if len(payload) % FLOAT.itemsize:
        raise InvalidValue(
            f"base64 of {len(payload)} bytes, which is not a multiple of {FLOAT.itemsize}", name
        )
    return np.frombuffer(payload, FLOAT)


def origin_of(model: VectorModel) -> VectorOrigin:
    """Convert the model of a request."""
    return VectorOrigin(model.name, model.version, model.precision, model.decode, model.identity)
