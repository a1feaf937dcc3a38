"""`/collections/{collection}/images`: list, find, get, change and delete images, and their files."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from diptych.bundle.image.preprocess import THUMBNAIL_MEDIA_TYPE
from diptych.core.collections.originals import THUMBNAIL_SIZES_PX
from diptych.core.types import ImageRecord
from diptych.http.description import BINARY, body_of
from diptych.http.endpoints.references import Links
from diptych.http.errors.documented_errors import BODY, GUARDED, Responses, refusals
from diptych.http.errors.validation import validated
from diptych.http.media_types import JSON, MERGE_PATCH, media_type, unsupported
from diptych.http.parsing import schemas
from diptych.http.parsing.body import read_body
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.limits import check_at_most, check_lengths
from diptych.http.parsing.request_models import METADATA_RULES, Listed, NoQuery, RequestModel
from diptych.http.respond import json_response
from diptych.http.state import Options, ReadyServices


class _Images(RequestModel):
    """`GET` of the images of a collection."""

    after: str | None = None
    limit: int = Field(100, ge=1, json_schema_extra=schemas.limited(maximum="max_page_items"))


ImagesQuery = Annotated[_Images, Query()]


class _Thumbnail(RequestModel):
    """`GET` of a thumbnail."""

    size: int = Field(256, json_schema_extra={"enum": list(THUMBNAIL_SIZES_PX)})


ThumbnailQuery = Annotated[_Thumbnail, Query()]


class LookupRequest(RequestModel):
    """`POST /collections/{collection}/lookups`."""

    ids: Listed[str] = Field(json_schema_extra=schemas.limited(maxItems="max_page_items"))


class PatchRequest(RequestModel):
    """`PATCH` of an image: a merge patch (RFC 7396) of its metadata, null removes a key."""

    metadata: dict[str, Any] = Field(description=METADATA_RULES)


class ImageResponse(BaseModel):
    """What is known of one image. Of a ready-made vector: bytes and sha256 of its numbers, and no pixels."""

    id: str
    collection: str
    sha256: str
    n_bytes: int
    media_type: str
    width: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    height: int = Field(description="pixels as stored in the file, before EXIF turns the picture upright")
    metadata: dict[str, Any]
    created_at: str = Field(description="ISO 8601, UTC")
    kept: bool = Field(description="whether there is a file of it: an original and thumbnails")
    links: Links

    @classmethod
    def of(cls, record: ImageRecord) -> "ImageResponse":
        """The record with its links."""
        return cls(**vars(record), links=Links.of(record.collection, record.id))


class FoundImages(BaseModel):
    """Those of the images that were asked for that are there and can be found in a search, by id."""

    images: list[ImageResponse]


class ImagePage(BaseModel):
    """Some images by id; `next` is the `after` of the page that follows, null on the last."""

    images: list[ImageResponse]
    next: str | None


router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))
_IMAGES = "/collections/{collection}/images"
_IMAGE = f"{_IMAGES}/{{id}}"


@router.get(_IMAGES, response_model=ImagePage, responses=refusals(404, 422))
async def list_images(
    request: Request, services: ReadyServices, options: Options, collection: str, query: ImagesQuery
) -> Response:
    """Images in the order of their ids; `next` of the answer is the `after` of the following page."""
    check_at_most(query.limit, "limit", options.limits.max_page_items)
    records, following = await services.collections.list_images(collection, query.after, query.limit)
    return json_response(request, ImagePage(images=list(map(ImageResponse.of, records)), next=following))


@router.post(
    "/collections/{collection}/lookups",
    response_model=FoundImages,
    responses=refusals(404, *BODY),
    openapi_extra=body_of(LookupRequest),
)
async def find_images(
    request: Request, services: ReadyServices, options: Options, collection: str, _: NoQuery
) -> Response:
    """Which of some ids are there, with the sha256 of their bytes: who has the file need not send it.

    An image is left out when adding it again would mend it: its file is not there or has another size, or
    it has no vector that searches could find.
    """
    if media_type(request) != JSON:
        raise unsupported(request, (JSON,))
    body = check_lengths(
        parse_json(await read_body(request, options.body)), {"ids": options.limits.max_page_items}
    )
    found = await services.collections.find_images(collection, validated(LookupRequest, body).ids)
    return json_response(request, FoundImages(images=[ImageResponse.of(one) for one in found]))


@router.get(_IMAGE, response_model=ImageResponse, responses=refusals(404))
async def get_image(
    request: Request, services: ReadyServices, collection: str, id: str, _: NoQuery
) -> Response:
    """What is known of one image."""
    return json_response(request, ImageResponse.of(await services.collections.get_image(collection, id)))


@router.patch(
    _IMAGE,
    response_model=ImageResponse,
    responses=refusals(404, 507, *BODY),
    openapi_extra=body_of(PatchRequest),
)
async def patch_image(
    request: Request, services: ReadyServices, options: Options, collection: str, id: str, _: NoQuery
) -> Response:
    """Merge into the metadata (RFC 7396): null removes a key."""
    if media_type(request) not in {JSON, MERGE_PATCH}:
        raise unsupported(request, (JSON, MERGE_PATCH))
    asked = validated(PatchRequest, parse_json(await read_body(request, options.body)))
    record = await services.collections.patch(collection, id, asked.metadata)
    return json_response(request, ImageResponse.of(record))


@router.delete(_IMAGE, status_code=204, responses=refusals(404, 507))
async def delete_image(services: ReadyServices, collection: str, id: str, _: NoQuery) -> Response:
    """Remove one image: its row, its embedding, and its file unless another image has the same bytes."""
    await services.collections.delete(collection, id)
    return Response(status_code=204)


_PICTURE: Responses = {
    200: {"content": {"image/*": BINARY}},
    304: {"description": "The caller has it: `If-None-Match` names its `ETag`"},
}
# A stored file is whatever somebody sent: a browser may show it, and must not run it.
_INERT = "default-src 'none'; sandbox"


@router.get(f"{_IMAGE}/original", response_class=Response, responses=_PICTURE | refusals(404))
async def original(
    request: Request, services: ReadyServices, collection: str, id: str, _: NoQuery
) -> Response:
    """The bytes as they were added."""
    record = await services.collections.get_image(collection, id)
    tag = f'"{record.sha256}"'
    if _has(request, tag):
        return _unchanged(tag)
    payload, media_type = await services.collections.original(collection, id)
    return Response(payload, headers=_headers(tag), media_type=media_type)


@router.get(f"{_IMAGE}/thumbnail", response_class=Response, responses=_PICTURE | refusals(404, 413, 422))
async def thumbnail(
    request: Request, services: ReadyServices, collection: str, id: str, query: ThumbnailQuery
) -> Response:
    """A small picture without metadata, its longer side at most `size` pixels."""
    record = await services.collections.get_image(collection, id)
    tag = f'"{record.sha256}-{query.size}"'
    if _has(request, tag):
        return _unchanged(tag)
    payload = await services.collections.thumbnail(collection, id, query.size)
    return Response(payload, headers=_headers(tag), media_type=THUMBNAIL_MEDIA_TYPE)


def _has(request: Request, tag: str) -> bool:
    offered = request.headers.get("if-none-match", "")
    return tag in {part.strip().removeprefix("W/") for part in offered.split(",")}


def _unchanged(tag: str) -> Response:
    return Response(status_code=304, headers=_headers(tag))


def _headers(tag: str) -> dict[str, str]:
    # An id can be given other bytes by a replace, so browsers ask each time and mostly get a 304.
    return {"ETag": tag, "Cache-Control": "private, no-cache", "Content-Security-Policy": _INERT}
