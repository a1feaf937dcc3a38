"""The web page, the API documentation, and their files."""

import gzip
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from diptych.http.access import GuardedRoute, needs

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)
_FOLDER = Path(__file__).parent.parent / "page"
_ASSETS = StaticFiles(directory=_FOLDER, check_dir=False)
_TEXTS = {".js", ".css", ".html", ".svg"}
# Also of the files, which include the pages; a new server may have others. The pages set their own rules for
# scripts and styles; only a header can forbid framing.
_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}


@router.get("/")
@needs(None)
async def page(request: Request) -> Response:
    """Search, classify and label in the browser."""
    return await assets(request, "index.html")


@router.get("/docs")
@needs(None)
async def docs() -> Response:
    """The API documentation. It loads nothing from other servers."""
    return FileResponse(_FOLDER / "docs.html", headers=_HEADERS)


@router.get("/openapi.json")
@needs(None)
async def openapi(request: Request) -> Response:
    """The OpenAPI description."""
    return JSONResponse(request.app.openapi())


@router.get("/assets/{path:path}")
@needs(None)
async def assets(request: Request, path: str) -> Response:
    """Scripts, styles and pictures of the pages, compressed for browsers that take it."""
    response = await _ASSETS.get_response(path, request.scope)
    response.headers.update(_HEADERS)
    if isinstance(response, FileResponse) and response.status_code == 200 and _is_compressible(request, path):
        packed = await run_in_threadpool(_compressed, Path(response.path))
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(packed, headers=headers)
    return response


def _is_compressible(request: Request, path: str) -> bool:
    return Path(path).suffix in _TEXTS and "gzip" in request.headers.get("accept-encoding", "")


def _compressed(file: Path) -> bytes:
    return _compressed_once(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=128)
def _compressed_once(file: Path, _changed_ns: int) -> bytes:
    return gzip.compress(file.read_bytes(), mtime=0)
