"""`/collections/{collection}/images`: list, find, get, change and delete images, and their files."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from diptych.bundle.image.preprocess import THUMBNAIL_MEDIA_TYPE
from diptych.core.collections.metadata.ordering import Direction
from diptych.core.collections.stored.originals import THUMBNAIL_SIZES_PX
from diptych.core.types import ImageRecord
from diptych.http.access import GuardedRoute, needs
from diptych.http.cancel_on_disconnect import cancel_on_disconnect
from diptych.http.context import context_of
from diptych.http.description import BINARY, request_body
from diptych.http.endpoints.references import EXAMPLE_LINKS, Links
from diptych.http.errors.documented_errors import BODY_ERRORS, COMMON_ERRORS, Responses, documented_errors
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import filter_of_query, parse_json
from diptych.http.parsing.limits import check_at_most, check_lengths
from diptych.http.parsing.request_models import (
    DIRECTION_FIELD,
    METADATA_RULES,
    FailFastList,
    NoQuery,
    RequestModel,
    parse_order,
)
from diptych.http.respond import file_response, is_current, json_response, not_modified
from diptych.http.state import Options, ReadyServices


class _ListParameters(RequestModel):
    """The query string of a list of images."""

    after: str | None = None
    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))
    filter: Annotated[str | None, WithJsonSchema(schemas.FILTER_TEXT)] = Field(
        None, description="list only images whose metadata passes this filter, as JSON"
    )
    order_by: Annotated[str | None, WithJsonSchema(schemas.PATH_TEXT)] = Field(
        None, description="list images by this field of their metadata, in place of their ids"
    )
    direction: Direction | None = DIRECTION_FIELD


ImagesQuery = Annotated[_ListParameters, Query()]


class _ThumbnailParameters(RequestModel):
    """The query string of a thumbnail."""

    size: int = Field(256, json_schema_extra={"enum": list(THUMBNAIL_SIZES_PX)})


ThumbnailQuery = Annotated[_ThumbnailParameters, Query()]


class LookupRequest(RequestModel):
    """`POST /collections/{collection}/lookups`."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"ids": ["cat", "rocket"]}))

    ids: FailFastList[str] = Field(json_schema_extra=schemas.limited(maxItems="max_page_items"))


class PatchRequest(RequestModel):
    """`PATCH` of an image: a merge patch (RFC 7396) of its metadata. null removes a key."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"metadata": {"year": 2002, "title": None}}))

    metadata: dict[str, Any] = Field(description=METADATA_RULES)


IMAGE_EXAMPLE = {
    "id": "cat",
    "collection": "gallery",
    "sha256": "6b7fa434f92a8b80aab02d9bf1a12e49f7a2f0b1c3d4e5f60718293a4b5c6d7e",
    "n_bytes": 48213,
    "media_type": "image/png",
    "width": 512,
    "height": 512,
    "metadata": {"title": "cat", "year": 2001},
    "created_at": "2026-03-02T09:31:07.512+00:00",
    "kept": True,
    "referenced": False,
    "links": EXAMPLE_LINKS,
}


class ImageResponse(BaseModel):
    """One image. For a ready-made vector: size and sha256 of its numbers, and no pixels."""

    model_config = ConfigDict(json_schema_extra=schemas.example(IMAGE_EXAMPLE))

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int = Field(description="pixels as stored in the file, before EXIF rotation")
    height: int = Field(description="pixels as stored in the file, before EXIF rotation")
    metadata: dict[str, Any]
    created_at: str = Field(description="ISO 8601, UTC")
    kept: bool = Field(description="whether its file is kept, for the original and thumbnails")
    referenced: bool = Field(description="whether that file stays in a library, outside of the data folder")
    links: Links

    @classmethod
    def of(cls, record: ImageRecord) -> "ImageResponse":
        """Convert the record and add its links."""
        return cls(**vars(record), links=Links.of(record.collection, record.id))


class FoundImages(BaseModel):
    """The requested images that exist and can be found by a search, by id."""

    model_config = ConfigDict(json_schema_extra=schemas.example({"images": [IMAGE_EXAMPLE]}))

    images: list[ImageResponse]


class ImagePage(BaseModel):
    """A page of images by id, or in the requested order. `next` is the `after` of the next page; null on the
    last.
    """

    model_config = ConfigDict(
        json_schema_extra=schemas.example({"images": [IMAGE_EXAMPLE], "next": "cat", "total": 1200})
    )

    images: list[ImageResponse]
    next: str | None
    total: int = Field(description="images on all pages: those of the collection that pass the filter")


router = APIRouter(
    tags=["collections"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute
)
_IMAGES = "/collections/{collection}/images"
_IMAGE = f"{_IMAGES}/{{id}}"


@router.get(
    _IMAGES,
    summary="List images of a collection",
    response_model=ImagePage,
    responses=documented_errors(400, 404, 422),
)
@needs("read", collections="path")
async def list_images(
    request: Request, services: ReadyServices, options: Options, collection: str, query: ImagesQuery
) -> Response:
    """List images, or those that pass a filter, in the order of their ids or of a field of their metadata.

    `next` is the `after` of the next page. Images without the field come last, those with equal values by id.
    """
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    filter = filter_of_query(query.filter)
    order_by = parse_order(query.order_by, query.direction)
    collections = services.collections
    with context_of(request).stage("work"):
        listing = collections.images.list(collection, query.after, query.limit, filter, order_by)
        records, following = await cancel_on_disconnect(request, listing)
        total = await collections.images.count(collection, filter)
    content = ImagePage(images=list(map(ImageResponse.of, records)), next=following, total=total)
    return json_response(request, content)


@router.post(
    "/collections/{collection}/lookups",
    summary="Check which images exist",
    response_model=FoundImages,
    responses=documented_errors(404, *BODY_ERRORS),
    openapi_extra=request_body(LookupRequest),
)
@needs("read", collections="path")
async def find_images(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Find which of the given ids exist, with the sha256 of their bytes, so that clients need not send them.

    An image is left out if adding it again would repair it: its file is missing or has another size, or it
    has no vector that searches could find.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = check_lengths(
        parse_json(await read_body(request, options.body)), {"ids": options.limits.max_page_items}
    )
    found = await services.collections.images.find(collection, validated(LookupRequest, body).ids)
    return json_response(request, FoundImages(images=[ImageResponse.of(record) for record in found]))


@router.get(_IMAGE, summary="Get an image", response_model=ImageResponse, responses=documented_errors(404))
@needs("read", collections="path")
async def get_image(
    request: Request, services: ReadyServices, collection: str, id: str, _: NoQuery
) -> Response:
    """One image."""
    return json_response(request, ImageResponse.of(await services.collections.images.get(collection, id)))


@router.patch(
    _IMAGE,
    summary="Change the metadata of an image",
    response_model=ImageResponse,
    responses=documented_errors(404, 507, *BODY_ERRORS),
    openapi_extra=request_body(PatchRequest),
)
@needs("write", collections="path")
async def patch_image(
    request: Request, services: ReadyServices, options: Options, collection: str, id: str, _: NoQuery
) -> Response:
    """Merge into the metadata of an image (RFC 7396). null removes a key."""
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    body = validated(PatchRequest, parse_json(await read_body(request, options.body)))
    record = await services.collections.images.patch(collection, id, body.metadata)
    return json_response(request, ImageResponse.of(record))


@router.delete(_IMAGE, summary="Delete an image", status_code=204, responses=documented_errors(404, 507))
@needs("write", collections="path")
async def delete_image(services: ReadyServices, collection: str, id: str, _: NoQuery) -> Response:
    """Delete one image: its row, its embedding, and its file unless another image has the same bytes."""
    await services.collections.images.delete(collection, id)
    return Response(status_code=204)


_FILE_RESPONSES: Responses = {
    200: {"content": {"image/*": BINARY}},
    304: {"description": "Not modified: `If-None-Match` has its `ETag`"},
}


@router.get(
    f"{_IMAGE}/original",
    summary="Download the file of an image",
    operation_id="get_original",
    response_class=Response,
    responses=_FILE_RESPONSES | documented_errors(404),
)
@needs("read", collections="path")
async def original(
    request: Request, services: ReadyServices, collection: str, id: str, _: NoQuery
) -> Response:
    """The file as it was added."""
    record = await services.collections.images.get(collection, id)
    tag = f'"{record.sha256}"'
    if is_current(request, tag):
        return not_modified(tag)
    payload, media_type = await services.collections.images.original(collection, id)
    return file_response(payload, tag, media_type)


@router.get(
    f"{_IMAGE}/thumbnail",
    summary="Get a thumbnail of an image",
    operation_id="get_thumbnail",
    response_class=Response,
    responses=_FILE_RESPONSES | documented_errors(404, 413, 422),
)
@needs("read", collections="path")
async def thumbnail(
    request: Request, services: ReadyServices, collection: str, id: str, query: ThumbnailQuery
) -> Response:
    """A thumbnail without metadata. Its longer side has at most `size` pixels."""
    record = await services.collections.images.get(collection, id)
    tag = f'"{record.sha256}-{query.size}"'
    if is_current(request, tag):
        return not_modified(tag)
    payload = await services.collections.images.thumbnail(collection, id, query.size)
    return file_response(payload, tag, THUMBNAIL_MEDIA_TYPE)
