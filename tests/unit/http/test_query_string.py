"""Routes look at a query string before their endpoint is called, and call it without a detour."""

from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse, Response

from diptych.errors import InvalidValue
from diptych.http import query_string
from diptych.http.query_string import LenientRoute, StrictRoute


def router_of(route_class: type[LenientRoute]) -> APIRouter:
    router = APIRouter(route_class=route_class)

    @router.get("/alone")
    async def alone(request: Request) -> Response:
        return PlainTextResponse(str(type(request)))

    @router.get("/item/{name}")
    async def with_parameters(
        request: Request, name: str, times: Annotated[int, Query(ge=1)] = 1
    ) -> PlainTextResponse:
        return PlainTextResponse(name * times)

    @router.get("/number")
    async def number(request: Request) -> dict[str, int]:
        return {"n": 1}

    @router.get("/named")
    async def named(*, request: Request) -> Response:
        return PlainTextResponse("by its name")

    @router.get("/more-by-name")
    async def more_by_name(request: Request, *, times: int = 1) -> Response:
        return PlainTextResponse("ab" * times)

    @router.get("/in-thread")
    def in_thread(request: Request) -> Response:
        return PlainTextResponse("from a thread")

    return router


def client_of(route_class: type[LenientRoute]) -> TestClient:
    app = FastAPI()
    app.include_router(router_of(route_class))
    return TestClient(app)


@pytest.mark.parametrize("route_class", [LenientRoute, StrictRoute])
def test_endpoints_of_all_kinds_are_called(route_class: type[LenientRoute]) -> None:
    client = client_of(route_class)
    assert "Request" in client.get("/alone").text
    assert client.get("/item/ab", params={"times": 3}).text == "ababab"
    assert client.get("/number").json() == {"n": 1}
    assert client.get("/named").text == "by its name"
    assert client.get("/more-by-name", params={"times": 2}).text == "abab"
    assert client.get("/in-thread").text == "from a thread"


@pytest.mark.parametrize("path", ["/alone", "/item/ab", "/number"])
def test_what_nobody_reads_is_refused_by_strict_routes(path: str) -> None:
    with pytest.raises(InvalidValue, match="no such parameter"):
        client_of(StrictRoute).get(path, params={"tims": 3})
    assert client_of(LenientRoute).get(path, params={"tims": 3}).status_code == 200


@pytest.mark.parametrize("route_class", [LenientRoute, StrictRoute])
def test_what_is_said_twice_is_refused(route_class: type[LenientRoute]) -> None:
    with pytest.raises(InvalidValue, match="2 times"):
        client_of(route_class).get("/alone?a=1&a=1")


def test_an_endpoint_that_takes_the_request_alone_costs_no_look_for_more() -> None:
    """FastAPI's handler needs a stack of files that its own middleware makes; ours is called without."""
    routes = router_of(StrictRoute).routes
    (route,) = [one for one in routes if isinstance(one, StrictRoute) and one.path == "/alone"]
    scope = {"type": "http", "method": "GET", "path": "/alone", "query_string": b"", "headers": []}
    coroutine = route.get_route_handler()(Request(scope))
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert isinstance(ended.value.value, PlainTextResponse)


def test_no_dependency_is_given_where_it_would_not_be_asked() -> None:
    """FastAPI tells a route nothing of what the app, or the place where it is included, depends on."""
    package = Path(query_string.__file__).parent
    files = sorted(package.rglob("*.py"))
    assert len(files) > 30
    assert [file.name for file in files if "dependencies=" in file.read_text(encoding="utf-8")] == []
