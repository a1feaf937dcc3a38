"""The web page, the API documentation, and their files."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from diptych.http.access import GuardedRoute

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)
_FOLDER = Path(__file__).parent.parent / "page"
_ASSETS = StaticFiles(directory=_FOLDER, check_dir=False)
# The pages set their own rules for scripts and styles; only a header can forbid framing.
_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}


@router.get("/")
async def page() -> Response:
    """Search and classify in the browser."""
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


@router.get("/docs")
async def docs() -> Response:
    """The API documentation. It loads nothing from other servers."""
    return FileResponse(_FOLDER / "docs.html", headers=_HEADERS)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI description."""
    return JSONResponse(request.app.openapi())


@router.get("/assets/{path:path}")
async def assets(request: Request, path: str) -> Response:
    """Scripts, styles and pictures of the pages."""
    response = await _ASSETS.get_response(path, request.scope)
    response.headers["Cache-Control"] = "no-cache"  # a new server may have others
    return response
