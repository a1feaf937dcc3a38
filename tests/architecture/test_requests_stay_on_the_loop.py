"""Handlers and what they depend on are coroutines: a plain function would cost each request a thread."""

import inspect
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from diptych.http.app import _ROUTERS
from diptych.http.query_string import LenientRoute, StrictRoute
from diptych.http.routes import classify, embed, openai, operate, page, search


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
    assert len(found) > len(routes())  # dependencies too
    assert [call for call in found if not inspect.iscoroutinefunction(call)] == []


def test_every_call_has_its_query_string_checked_and_those_of_others_programs_leniently() -> None:
    for router in _ROUTERS:
        expected = LenientRoute if router in (openai.router, operate.router) else StrictRoute
        assert {type(route) for route in router.routes} == {expected}, router.tags


def test_calls_that_are_made_the_most_have_fastapi_look_for_nothing() -> None:
    """It looks at each request anew for what each dependency needs itself."""
    busiest = {embed.embed, classify.classify, search.search, openai.embeddings}
    dependants = [route.dependant for route in routes() if route.endpoint in busiest]
    assert len(dependants) == len(busiest)
    assert not any(dependant.dependencies for dependant in dependants)
