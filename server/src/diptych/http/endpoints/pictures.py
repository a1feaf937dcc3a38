"""The bytes of stored images: originals and thumbnails."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.bundle.image.preprocess import THUMBNAIL_MEDIA_TYPE
from diptych.http.description import BINARY
from diptych.http.errors.documented_errors import GUARDED, Responses, refusals
from diptych.http.requests import NoQuery, ThumbnailQuery
from diptych.http.state import ReadyServices

router = APIRouter(tags=["collections"], responses=refusals(*GUARDED))

_IMAGE = "/collections/{collection}/images/{id}"
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
