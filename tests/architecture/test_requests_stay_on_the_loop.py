"""Handlers and what they depend on are coroutines: a plain function would cost each request a thread."""

import inspect
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from diptych.http.app import _ROUTERS
from diptych.http.query_string import refuse_repeated, refuse_unknown
from diptych.http.routes import page


def calls(dependant: Dependant) -> Iterator[object]:
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from calls(inner)


def routes() -> list[APIRoute]:
    routers: list[APIRouter] = [*_ROUTERS, page.router]
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def test_all_that_a_request_calls_is_a_coroutine() -> None:
    found = {call for route in routes() for call in calls(route.dependant)}
    found |= {refuse_repeated, refuse_unknown}
    assert len(found) > len(routes())  # dependencies too
    assert [call for call in found if not inspect.iscoroutinefunction(call)] == []
