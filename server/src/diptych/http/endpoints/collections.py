"""`/collections`: create, list, change and drop collections, and delete images by filter."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from diptych.core.collections.metadata.filter_parser import parse_filter, parse_path
from diptych.core.rollout.types import CollectionProgress
from diptych.core.services import Services
from diptych.core.types import CollectionChange, CollectionState, CollectionStats, Keep
from diptych.http.access import GuardedRoute, caller_of, needs, note_target
from diptych.http.description import request_body
from diptych.http.endpoints.references import EXAMPLE_MODEL, ModelRef
from diptych.http.endpoints.rollouts import CollectionRolloutResponse
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.request_models import CollectionName, FilterObject, NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices

MAX_TEXT_FIELDS = 100
TextFields = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]] | None, Field(max_length=MAX_TEXT_FIELDS)
]


class CollectionRequest(RequestModel):
    """`POST /collections`."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"name": "gallery"}, {"name": "holiday", "keep": "none"})
    )

    name: CollectionName
    keep: Literal["original", "none"] = Field(
        "original", description="none: image files are not kept, so the images cannot be embedded again"
    )
    text_fields: TextFields = Field(
        None,
        description="dotted paths of the metadata whose words can be searched, each with all that is below "
        "it, such as file.name; null: all",
    )


class CollectionPatch(RequestModel):
    """`PATCH` of a collection. Missing properties do not change."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"name": "pets", "keep": "none"}))

    name: CollectionName | None = Field(None, description="its new name")
    keep: Literal["original", "none"] | None = Field(
        None, description="for images that are added from now on; stored images do not change"
    )
    text_fields: TextFields = Field(
        None,
        description="as when it is created; null: all. Words of stored images are indexed again, and found "
        "once `n_text_indexed` has counted them",
    )


class DeletionRequest(RequestModel):
    """`POST /collections/{collection}/deletions`: a filter, `lacking`, or both (images must match both)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"filter": {"year": {"lt": 2000}}, "preview": True}],
            "anyOf": [
                {"required": ["filter"], "properties": {"filter": {"type": "object"}}},
                {"required": ["lacking"], "properties": {"lacking": {"const": True}}},
            ],
        }
    )

    filter: FilterObject | None = Field(None, description="on metadata, as in a search")
    lacking: bool = Field(False, description="images that have no vector of the served version")
    preview: bool = Field(False, description="delete nothing; return how many images match and the first ids")

    @model_validator(mode="after")
    def _require_condition(self) -> Self:
        if self.filter is None and not self.lacking:
            raise ValueError("give a filter, or lacking: true; to delete all images, drop the collection")
        return self


class IndexResponse(BaseModel):
    """What searches a collection, and why. Filtered searches always run on the CPU.

    "flat": a search compares all images; "ivf": those of the lists that are nearest to the query.
    """

    kind: Literal["flat", "ivf"]
    device: Literal["cpu", "cuda"]
    reason: str


class RecallResponse(BaseModel):
    """The share of the ten nearest images that searches find, by what is searched for."""

    names: float = Field(description="by names of things that images show")
    nouns: float = Field(description="by nouns that no image shows")
    images: float = Field(description="by images")


_EXAMPLE = {
    "name": "gallery",
    "model": "everyday",
    "n_images": 1200,
    "created_at": "2026-03-02T09:30:00.000+00:00",
    "keep": "original",
    "state": "ready",
    "n_embedded": 1200,
    "reason": "",
    "n_kept": 1200,
    "kept_bytes": 57855600,
    "text_fields": None,
    "n_text_indexed": 1200,
    "vectors": EXAMPLE_MODEL,
    "recall": 1.0,
    "recall_by": {"names": 1.0, "nouns": 1.0, "images": 1.0},
    "index": {"kind": "flat", "device": "cpu", "reason": "this machine has no GPU"},
    "memory_bytes": 1228800,
    "load_s": 0.04,
    "version": 1,
    "stays": "",
    "rollout": None,
}


class CollectionResponse(BaseModel):
    """One collection. Only a "ready" one can be searched.

    "embedding": `n_embedded` counts up to `n_images`. With a `reason`, the last try ended early; it is tried
    again, at first each minute.
    "unserved": nothing here makes vectors like its own, and its images cannot be embedded again; it can be
    read and deleted from.
    """

    model_config = ConfigDict(json_schema_extra=schemas.example(_EXAMPLE))

    name: str
    model: str
    n_images: int
    created_at: str = Field(description="ISO 8601, UTC")
    keep: Keep = Field(
        description="whether the files of added images are kept; reference: it is the collection of a "
        "library, whose files stay where they are"
    )
    state: CollectionState
    n_embedded: int
    reason: str = Field(
        description='why it is "unserved" or the last try to embed it ended early, else empty'
    )
    n_kept: int = Field(description="images whose file is kept")
    kept_bytes: int = Field(description="bytes of the kept files; images with the same bytes share one file")
    text_fields: list[str] | None = Field(
        description="dotted paths of the metadata whose words can be searched; null: all"
    )
    n_text_indexed: int = Field(
        description="images whose words can be searched: less than `n_images` while those that were there "
        "before are indexed"
    )
    vectors: ModelRef | None = Field(
        description="the model version that computes its vectors; null when it is not served"
    )
    recall: float | None = Field(
        description="share of the nearest images that a search finds: 1 if exact, else the lowest of "
        "`recall_by`"
    )
    recall_by: RecallResponse | None = Field(
        description="the same by what is searched for, measured whenever the index is made; null when it is "
        "not served"
    )
    index: IndexResponse | None = Field(description="what searches it; null when it is not served")
    memory_bytes: int = Field(
        description="of its vectors in memory, with those of a rollout and of the version that served before"
    )
    load_s: float | None = Field(
        description="seconds that reading its vectors took; null if there were none yet when it was opened"
    )
    version: int | None = Field(description="of the model of `vectors`; null when that is not served")
    stays: str = Field(description="why it does not follow the version that the server serves; else empty")
    rollout: CollectionRolloutResponse | None = Field(description="the one that it takes part in now")

    @classmethod
    def of(cls, stats: CollectionStats, moving: CollectionProgress | None) -> "CollectionResponse":
        """Convert the domain objects."""
        vectors = None if stats.vectors is None else ModelRef.of(stats.vectors)
        index = None if stats.index is None else IndexResponse(**vars(stats.index))
        fields = {**vars(stats.info), **vars(stats.sizes)}
        fields["text_fields"] = None if stats.info.text_fields is None else list(stats.info.text_fields)
        return cls(
            **fields,
            n_text_indexed=max(0, stats.info.n_images - stats.sizes.n_unindexed),
            vectors=vectors,
            recall=None if stats.recall is None else stats.recall.lowest,
            recall_by=None if stats.recall is None else RecallResponse(**vars(stats.recall)),
            index=index,
            memory_bytes=stats.memory_bytes,
            load_s=stats.load_s,
            version=None if vectors is None else vectors.version,
            rollout=CollectionRolloutResponse.of(moving),
        )


class CollectionList(BaseModel):
    """All collections by name."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"collections": [_EXAMPLE], "database_bytes": 2785280})
    )

    collections: list[CollectionResponse]
    database_bytes: int | None = Field(
        description="size on disk of the database of all collections and its log, without image files; null "
        "for a key that is limited to some collections"
    )


class DeletionResponse(BaseModel):
    """How many images were deleted. In a preview: how many match, and the first of their `ids`."""

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"n_images": 2, "preview": True, "ids": ["cat", "rocket"]})
    )

    n_images: int
    preview: bool
    ids: list[str]


router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)


@router.get("/collections", summary="List collections", response_model=CollectionList)
@needs("read", collections="chosen")
async def list_collections(request: Request, services: ReadyServices, _: NoQuery) -> Response:
    """List all collections that the key sees, by name."""
    caller, moving = caller_of(request), services.rollouts.of_collections()
    all_stats = [one for one in await services.collections.stats_of_all() if caller.sees(one.info.name)]
    found = [CollectionResponse.of(stats, moving.get(stats.info.name)) for stats in all_stats]
    n_bytes = None if caller.collections is not None else await services.collections.database_bytes()
    return json_response(request, CollectionList(collections=found, database_bytes=n_bytes))


@router.post(
    "/collections",
    summary="Create a collection",
    status_code=201,
    response_model=CollectionResponse,
    responses=documented_errors(409, 507, *BODY_ERRORS),
    openapi_extra=request_body(CollectionRequest),
)
@needs("write", collections="chosen", action="create collection")
async def create_collection(
    request: Request, services: ReadyServices, options: Options, _: NoQuery
) -> Response:
    """Create an empty collection for the served model; 409 when the name is taken."""
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = validated(CollectionRequest, parse_json(await read_body(request, options.body)))
    note_target(request, body.name)
    caller_of(request).require_may_name(body.name)
    created = await services.collections.create(body.name, body.keep, _chosen(body.text_fields))
    return await _respond(request, services, created.name, 201)


@router.get(
    "/collections/{collection}",
    summary="Get a collection",
    response_model=CollectionResponse,
    responses=documented_errors(404),
)
@needs("read", collections="path")
async def get_collection(request: Request, services: ReadyServices, collection: str, _: NoQuery) -> Response:
    """One collection."""
    return await _respond(request, services, collection)


@router.patch(
    "/collections/{collection}",
    summary="Rename or change a collection",
    response_model=CollectionResponse,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS),
    openapi_extra=request_body(CollectionPatch),
)
@needs("write", collections="path", action="change collection")
async def change_collection(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Change the name, whether files of images that are added later are kept, and the metadata whose words
    can be searched: all of it or nothing.
    """
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    body = validated(CollectionPatch, parse_json(await read_body(request, options.body)))
    if body.name is not None:
        caller_of(request).require_may_name(body.name)
        services.jobs.require_none(collection)
    if body.name is not None or body.keep is not None:
        services.libraries.require_free(collection)
    change = CollectionChange(
        body.name,
        body.keep,
        text_fields=_chosen(body.text_fields),
        sets_text_fields="text_fields" in body.model_fields_set,
    )
    changed = await services.collections.change(collection, change)
    return await _respond(request, services, changed.name)


@router.post(
    "/collections/{collection}/deletions",
    summary="Delete images by a filter",
    response_model=DeletionResponse,
    responses=documented_errors(404, 409, 507, *BODY_ERRORS),
    openapi_extra=request_body(DeletionRequest),
)
@needs("write", collections="path")
async def delete_images(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Delete the images that match a filter; with `preview`, only count them.

    With `lacking`, 503 while the collection is being embedded or after that failed, and 409 if it is not
    served: the images without a vector are not known then.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = validated(DeletionRequest, parse_json(await read_body(request, options.body)))
    filter = None if body.filter is None else parse_filter(body.filter)
    deletion = await services.collections.images.delete_matching(
        collection, filter, lacking=body.lacking, preview=body.preview
    )
    content = DeletionResponse(n_images=deletion.n_images, preview=body.preview, ids=list(deletion.ids))
    return json_response(request, content)


@router.delete(
    "/collections/{collection}",
    summary="Delete a collection",
    status_code=204,
    responses=documented_errors(404, 409, 507),
)
@needs("write", collections="path", action="drop collection")
async def drop_collection(services: ReadyServices, collection: str, _: NoQuery) -> Response:
    """Remove a collection with all its images; 409 for that of a library."""
    services.libraries.require_free(collection)
    await services.collections.drop(collection)
    return Response(status_code=204)


def _chosen(fields: list[str] | None) -> tuple[str, ...] | None:
    """The fields, each once. Raises InvalidValue naming one that is no path."""
    if fields is None:
        return None
    paths = (parse_path(field, f"text_fields[{i}]") for i, field in enumerate(fields))
    return tuple(dict.fromkeys(".".join(path) for path in paths))


async def _respond(request: Request, services: Services, name: str, status: int = 200) -> Response:
    stats = await services.collections.stats(name)
    moving = services.rollouts.of_collections().get(name)
    return json_response(request, CollectionResponse.of(stats, moving), status)
