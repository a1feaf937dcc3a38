"""`/collections`: make, list, change and drop them, and delete many of their images at once."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.types import CollectionChange
from diptych.http.answers_collections import CollectionList, CollectionResponse, DeletionResponse
from diptych.http.description import body_of
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.requests import CollectionPatch, CollectionRequest, DeletionRequest, NoQuery
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))


@router.get("/collections", response_model=CollectionList)
async def list_collections(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """All collections by name."""
    found = [CollectionResponse.of(one) for one in await services.collections.stats_of_all()]
    n_bytes = await services.collections.database_bytes()
    return json_response(request, CollectionList(collections=found, database_bytes=n_bytes))


@router.post(
    "/collections",
    status_code=201,
    response_model=CollectionResponse,
    responses=refusals(409, 507, *BODY),
    openapi_extra=body_of(CollectionRequest),
)
async def create_collection(
    request: Request, services: ReadyServices, options: Options, _: NoQuery
) -> Response:
    """A new, empty collection for the model that serves; 409 when the name is taken.

    A precision that no collection has used yet is loaded first, which takes seconds.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    asked = validated(CollectionRequest, parse_json(await read_body(request, options.body)))
    made = await services.collections.create(asked.name, asked.keep, asked.precision)
    return json_response(request, CollectionResponse.of(await services.collections.stats(made.name)), 201)


@router.get("/collections/{collection}", response_model=CollectionResponse, responses=refusals(404))
async def get_collection(request: Request, services: ReadyServices, collection: str, _: NoQuery) -> Response:
    """One collection."""
    return json_response(request, CollectionResponse.of(await services.collections.stats(collection)))


@router.patch(
    "/collections/{collection}",
    response_model=CollectionResponse,
    responses=refusals(404, 409, 507, *BODY),
    openapi_extra=body_of(CollectionPatch),
)
async def change_collection(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Rename a collection, keep the files of images that are added from now on or not, take a precision.

    All of it or nothing. Another precision has the kept images embedded again in the background, as the same
    does after that failed: the state is "embedding" until that is done. 409 where rows keep no image that
    could be.
    """
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    asked = validated(CollectionPatch, parse_json(await read_body(request, options.body)))
    collections = services.collections
    if asked.name is not None:
        services.jobs.require_none(collection)
    changed = await collections.change(collection, CollectionChange(asked.name, asked.keep, asked.precision))
    return json_response(request, CollectionResponse.of(await collections.stats(changed.name)))


@router.post(
    "/collections/{collection}/deletions",
    response_model=DeletionResponse,
    responses=refusals(404, 409, 507, *BODY),
    openapi_extra=body_of(DeletionRequest),
)
async def delete_images(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Delete the images that pass a filter, or with `preview` tell how many that would be.

    With `lacking`, 503 while the images are embedded or after that failed, 409 where the collection is not
    served: what lacks is not known then.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    asked = validated(DeletionRequest, parse_json(await read_body(request, options.body)))
    filter = None if asked.filter is None else parse_filter(asked.filter)
    deletion = await services.collections.delete_matching(
        collection, filter, lacking=asked.lacking, preview=asked.preview
    )
    answer = DeletionResponse(n_images=deletion.n_images, preview=asked.preview, ids=list(deletion.ids))
    return json_response(request, answer)


@router.delete("/collections/{collection}", status_code=204, responses=refusals(404, 507))
async def drop_collection(services: ReadyServices, collection: str, _: NoQuery) -> Response:
    """Remove a collection with all its images."""
    await services.collections.drop(collection)
    return Response(status_code=204)
