"""`/models/{name}/versions/{version}/card`: the card of a model version, and the figures in it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from diptych.core.services import Services
from diptych.errors import BundleError, Conflict
from diptych.http.access import GuardedRoute, needs
from diptych.http.description import BINARY
from diptych.http.errors.documented_errors import COMMON_ERRORS, Responses, documented_errors
from diptych.http.parsing.request_models import NoQuery
from diptych.http.respond import file_response, is_current, not_modified
from diptych.http.state import ReadyServices

router = APIRouter(tags=["models"], responses=documented_errors(*COMMON_ERRORS), route_class=GuardedRoute)
_CARD = "/models/{name}/versions/{version}/card"
_NOT_MODIFIED: Responses = {304: {"description": "Not modified: `If-None-Match` has its `ETag`"}}
_MARKDOWN: Responses = {
    200: {"content": {"text/markdown": {"example": "# everyday\n\nAn image-text model.\n"}}}
}
_FILE: Responses = {200: {"content": {"text/markdown": {}, "image/*": BINARY}}}
_ERRORS = documented_errors(404, 409, 413, 422)


@router.get(
    _CARD,
    summary="Read the card of a version",
    operation_id="get_card",
    response_class=Response,
    responses=_MARKDOWN | _NOT_MODIFIED | _ERRORS,
)
@needs("read")
async def model_card(
    request: Request, services: ReadyServices, name: str, version: int, _: NoQuery
) -> Response:
    """The model card of a version, as Markdown; 404 if it has none, 409 if the version is damaged.

    Figures and other cards that it links to by their bare names are at this path, a slash and the name.
    """
    return await _respond(request, services, name, version)


@router.get(
    f"{_CARD}/{{file}}",
    summary="Get a file of the card of a version",
    operation_id="get_card_file",
    response_class=Response,
    responses=_FILE | _NOT_MODIFIED | _ERRORS,
)
@needs("read")
async def model_card_file(
    request: Request, services: ReadyServices, name: str, version: int, file: str, _: NoQuery
) -> Response:
    """A picture or Markdown file of a version, as its card shows or links to it. Other files are a 404.

    409 if the version is damaged.
    """
    return await _respond(request, services, name, version, file)


async def _respond(
    request: Request, services: Services, name: str, version: int, file: str | None = None
) -> Response:
    try:
        card = await services.catalogue.card(name, version, file)
    except BundleError as error:  # names the version, the file, and what is wrong with it
        raise Conflict(str(error)) from error
    tag = f'"{card.sha256}"'
    return (
        not_modified(tag) if is_current(request, tag) else file_response(card.payload, tag, card.media_type)
    )
