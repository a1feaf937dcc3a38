"""`/collections`: make, list and drop them."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.http.answers_collections import CollectionAnswer, CollectionList
from diptych.http.body import read_body
from diptych.http.content import JSON, media_type, unsupported
from diptych.http.json_body import parse_json
from diptych.http.openapi import body_of
from diptych.http.refusals import BODY, GUARDED, refusals
from diptych.http.requests import CollectionRequest
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices
from diptych.http.validation import validated

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))


@router.get("/collections", response_model=CollectionList)
async def list_collections(request: Request, services: ReadyServices) -> Response:
    """All collections by name."""
    infos = await services.collections.list()
    return json_response(request, CollectionList(collections=[CollectionAnswer.of(info) for info in infos]))


@router.post(
    "/collections",
    status_code=201,
    response_model=CollectionAnswer,
    responses=refusals(409, 507, *BODY),
    openapi_extra=body_of(CollectionRequest),
)
async def create_collection(request: Request, services: ReadyServices, options: Options) -> Response:
    """A new, empty collection for the model that serves; 409 when the name is taken."""
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    asked = validated(CollectionRequest, parse_json(await read_body(request, options.body)))
    info = await services.collections.create(asked.name, asked.keep)
    return json_response(request, CollectionAnswer.of(info), 201)


@router.get("/collections/{collection}", response_model=CollectionAnswer, responses=refusals(404))
async def get_collection(request: Request, services: ReadyServices, collection: str) -> Response:
    """One collection."""
    return json_response(request, CollectionAnswer.of(await services.collections.get(collection)))


@router.delete("/collections/{collection}", status_code=204, responses=refusals(404, 507))
async def drop_collection(services: ReadyServices, collection: str) -> Response:
    """Remove a collection with all its images."""
    await services.collections.drop(collection)
    return Response(status_code=204)
