"""The web page, the API's description for people, and their files. Knows nothing of what they do."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent.parent / "page"
_ASSETS = StaticFiles(directory=_FOLDER, check_dir=False)
# The pages state their own script and style rules; only a header can forbid being framed.
_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}


@router.get("/")
async def page() -> Response:
    """Search and classify in the browser."""
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


@router.get("/docs")
async def docs() -> Response:
    """The API's description; loads nothing from elsewhere."""
    return FileResponse(_FOLDER / "docs.html", headers=_HEADERS)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The API's description for programs."""
    return JSONResponse(request.app.openapi())


@router.get("/assets/{path:path}")
async def assets(request: Request, path: str) -> Response:
    """Scripts, styles and pictures of the pages."""
    response = await _ASSETS.get_response(path, request.scope)
    response.headers["Cache-Control"] = "no-cache"  # they change with the server: ask, and get a 304
    return response
