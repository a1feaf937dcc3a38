"""`/collections/{collection}/vectors`: add ready-made vectors of the version that serves."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.http.answers_collections import AddResponse
from diptych.http.cancel_on_disconnect import while_connected
from diptych.http.context import context_of
from diptych.http.description import body_of
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.outcomes import respond_outcomes
from diptych.http.parsing import schemas
from diptych.http.requests import AddQuery, AddVectorsRequest
from diptych.http.state import Options, ReadyServices
from diptych.http.vectors_body import read_vectors

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))

_FORM = schemas.form(
    {
        "model": schemas.json_field(
            schemas.ref("VectorModel"), "{name, version}, and if known precision and decode"
        ),
        "embeddings": {**schemas.FILE, "description": "rows of little-endian float32"},
        "items": schemas.json_field(
            schemas.some(schemas.ref("AddItem"), limit="max_add_vectors"),
            "{id, metadata} of each row, in their order",
        ),
    },
    required=("model", "embeddings"),
)


@router.post(
    "/collections/{collection}/vectors",
    response_model=AddResponse,
    responses=refusals(404, 409, 507, *BODY),
    openapi_extra=body_of(AddVectorsRequest, _FORM),
)
async def add_vectors(
    request: Request, services: ReadyServices, options: Options, collection: str, query: AddQuery
) -> Response:
    """Add vectors of unit norm that the version that serves has made; another version's are a 409.

    Ids, `replace` and outcomes are those of images. A row without an image can be searched and deleted, but
    has no picture and cannot be embedded again by another version.
    """
    context, collections = context_of(request), services.collections
    with context.stage("parse"):
        asked = await read_vectors(
            request,
            options,
            services.model.embed_dim,
            lambda origin: collections.check_origin(collection, origin),
        )
    with context.stage("work"):
        adding = collections.add_vectors(collection, asked.origin, asked.items, replace=query.replace)
        added = await while_connected(request, adding)
    return await respond_outcomes(request, added, collection, "items[0]")
