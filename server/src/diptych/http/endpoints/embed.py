"""`/embed`: texts and images to embeddings."""

from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.encoding.embed import embed_items
from diptych.core.types import TextEmbedding
from diptych.http.answers import EmbeddedItem, EmbedResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import BINARY, body_of
from diptych.http.embed_body import read_embed
from diptych.http.endpoints.references import ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, Responses, refusals
from diptych.http.media_types import ANY_IMAGE, OCTETS, TEXT, wants_octets
from diptych.http.middleware.body_budget import room_of
from diptych.http.parsing import schemas
from diptych.http.parsing.request_models import EncodingFormat, NoQuery
from diptych.http.requests import EmbedRequest
from diptych.http.respond import encode_embedding, octets_response, sized_json_response
from diptych.http.state import at_work

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
