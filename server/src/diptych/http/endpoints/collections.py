"""`/collections`: make, list, change and drop them, and delete many of their images at once."""

from typing import Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from diptych.core.collections.filter_parser import parse_filter
from diptych.core.types import SERVER, CollectionChange, CollectionState, CollectionStats, Keep
from diptych.http.description import body_of
from diptych.http.endpoints.references import ModelRef
from diptych.http.errors.documented_errors import BODY, GUARDED, refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.request_models import CollectionName, FilterObject, NoQuery, Precision, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices


class CollectionRequest(RequestModel):
    """`POST /collections`."""

    name: CollectionName
    keep: Literal["original", "none"] = Field(
        "original", description="none: image files are not kept, so that they cannot be embedded again"
    )
    precision: Precision = Field(
        SERVER, description="of its vectors and queries; server: that which the server has for collections"
    )


class CollectionPatch(RequestModel):
    """`PATCH` of a collection: what is not given stays."""

    name: CollectionName | None = Field(None, description="its new name")
    keep: Literal["original", "none"] | None = Field(
        None, description="for images that are added from now on; those that are there stay as they are"
    )
    precision: Precision | None = Field(
        None,
        description="of its vectors and queries, or server; kept images are embedded again for it, also when "
        "it is the same and that has failed",
    )


class DeletionRequest(RequestModel):
    """`POST /collections/{collection}/deletions`: a filter, `lacking`, or both, which must both hold."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["filter"], "properties": {"filter": {"type": "object"}}},
                {"required": ["lacking"], "properties": {"lacking": {"const": True}}},
            ]
        }
    )

    filter: FilterObject | None = Field(None, description="on metadata, as in a search")
    lacking: bool = Field(False, description="images that have no vector of the served version")
    preview: bool = Field(False, description="delete nothing, tell how many it would be and the first ids")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.filter is None and not self.lacking:
            raise ValueError("give a filter, or lacking: true; to delete all images, drop the collection")
        return self


class IndexResponse(BaseModel):
    """Where a collection is searched, and why there; filtered searches are the CPU's everywhere."""

    device: Literal["cpu", "cuda"]
    reason: str


class CollectionResponse(BaseModel):
    """One collection; only a "ready" one can be searched, "embedding" counts up to n_images.

    "failed": embedding ended early, `reason` says why; it is tried again when the server starts, or when the
    collection is given its precision anew.
    "other_version": it has rows without an image that another version made; `reason` says what to do.
    "no_precision": the served version lacks its precision, or cannot serve it here; `reason` says more.
    """

    name: str
    model: str
    n_images: int
    created_at: str = Field(description="ISO 8601, UTC")
    keep: Keep = Field(description="what becomes of the files of images that are added")
    precision: str = Field(description='its own, or "server": see `vectors` for which one that is')
    state: CollectionState
    n_embedded: int
    reason: str = Field(description='why it is "failed", "other_version" or "no_precision", else empty')
    n_kept: int = Field(description="images whose file is there")
    kept_bytes: int = Field(description="bytes of those; images with the same bytes share one file")
    vectors: ModelRef | None = Field(description="what makes its vectors; null when that is not served")
    recall: float | None = Field(
        description="share of the nearest images that a search finds: 1 if exact, else as measured"
    )
    index: IndexResponse | None = Field(description="where it is searched; null when that is not served")

    @classmethod
    def of(cls, stats: CollectionStats) -> "CollectionResponse":
        """The same, for the wire."""
        vectors = None if stats.vectors is None else ModelRef.of(stats.vectors)
        index = None if stats.index is None else IndexResponse(**vars(stats.index))
        told = {**vars(stats.info), **vars(stats.sizes)}
        return cls(**told, vectors=vectors, recall=stats.recall, index=index)


class CollectionList(BaseModel):
    """All collections by name."""

    collections: list[CollectionResponse]
    database_bytes: int = Field(
        description="the database that they share and its log, as on the disk; without image files"
    )


class DeletionResponse(BaseModel):
    """How many images were deleted. In a preview: how many would be, and the `ids` of the first of them."""

    n_images: int
    preview: bool
    ids: list[str]


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
