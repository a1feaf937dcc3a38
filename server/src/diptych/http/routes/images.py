"""`/collections/{collection}/images`: add, list, get, change and delete the images of a collection."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from diptych.http.add_body import read_add
from diptych.http.answers_collections import AddAnswer, ImageAnswer, ImagePage
from diptych.http.body import read_body
from diptych.http.checks import check_at_most
from diptych.http.content import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.context import context_of
from diptych.http.hangup import while_connected
from diptych.http.json_body import parse_json
from diptych.http.openapi import FILES, body_of
from diptych.http.outcomes import respond_outcomes
from diptych.http.refusals import BODY, GUARDED, refusals
from diptych.http.requests import PatchRequest
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices
from diptych.http.validation import validated

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))

_IMAGES = "/collections/{collection}/images"
_IMAGE = f"{_IMAGES}/{{id}}"
_FORM = {
    "image": FILES,
    "items": {"type": "string", "description": "JSON array of {id, metadata} in the order of the images"},
}


@router.post(
    _IMAGES,
    response_model=AddAnswer,
    responses=refusals(404, 409, 507, *BODY),
    openapi_extra=body_of(form=_FORM),
)
async def add_images(
    request: Request, services: ReadyServices, options: Options, collection: str, replace: bool = False
) -> Response:
    """Add images; each is durable and searchable when its outcome says created, unchanged or replaced.

    An image without an id gets the first 32 hex digits of its sha256. An id that is taken by other bytes
    is a conflict unless `replace=true`. The failure of an only image is the answer itself, such as a 409.
    """
    context = context_of(request)
    with context.stage("parse"):
        images = await read_add(request, options)
    with context.stage("work"):
        adding = services.collections.add_many(collection, images, replace=replace)
        outcomes = await while_connected(request, adding)  # what is being written is, even so
    return await respond_outcomes(request, services.collection_model, collection, outcomes, "images[0]")


@router.get(_IMAGES, response_model=ImagePage, responses=refusals(404, 422))
async def list_images(
    request: Request,
    services: ReadyServices,
    options: Options,
    *,
    collection: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1)] = 100,
) -> Response:
    """Images in the order of their ids; `next` of the answer is the `after` of the following page."""
    check_at_most(limit, "limit", options.limits.max_page_items)
    records, following = await services.collections.list_images(collection, after, limit)
    return json_response(request, ImagePage(images=list(map(ImageAnswer.of, records)), next=following))


@router.get(_IMAGE, response_model=ImageAnswer, responses=refusals(404))
async def get_image(request: Request, services: ReadyServices, collection: str, id: str) -> Response:
    """What is known of one image."""
    return json_response(request, ImageAnswer.of(await services.collections.get_image(collection, id)))


@router.patch(
    _IMAGE,
    response_model=ImageAnswer,
    responses=refusals(404, 507, *BODY),
    openapi_extra=body_of(PatchRequest),
)
async def patch_image(
    request: Request, services: ReadyServices, options: Options, collection: str, id: str
) -> Response:
    """Merge into the metadata (RFC 7396): null removes a key."""
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    asked = validated(PatchRequest, parse_json(await read_body(request, options.body)))
    record = await services.collections.patch(collection, id, asked.metadata)
    return json_response(request, ImageAnswer.of(record))


@router.delete(_IMAGE, status_code=204, responses=refusals(404, 507))
async def delete_image(services: ReadyServices, collection: str, id: str) -> Response:
    """Remove one image: its row, its embedding, and its file unless another image has the same bytes."""
    await services.collections.delete(collection, id)
    return Response(status_code=204)
