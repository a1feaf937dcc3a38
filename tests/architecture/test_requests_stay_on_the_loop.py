"""Handlers and what they depend on are coroutines: a plain function would cost each request a thread."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

from fastapi import APIRouter
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from diptych.http import endpoints as package
from diptych.http.endpoints import classify, embed, operate, page
from diptych.http.endpoints.dialects import huggingface, openai
from diptych.http.endpoints.search import routes as search

MODULES = [import_module(one.name) for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
ROUTERS: list[APIRouter] = [module.router for module in MODULES if hasattr(module, "router")]


def calls(dependant: Dependant) -> Iterator[object]:
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from calls(inner)


def query_params(dependant: Dependant) -> list[ModelField]:
    return [
        *dependant.query_params,
        *(field for inner in dependant.dependencies for field in query_params(inner)),
    ]


def routes() -> list[APIRoute]:
    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def test_all_that_a_request_calls_is_a_coroutine() -> None:
    found = {call for route in routes() for call in calls(route.dependant)}
    assert len(found) > len(routes())  # dependencies too
    assert [call for call in found if not inspect.iscoroutinefunction(call)] == []


def test_every_query_string_is_a_model_that_refuses_what_it_does_not_know() -> None:
    for router in ROUTERS:
        if router is page.router:
            continue
        is_lenient = router in (openai.router, huggingface.router, operate.router)  # for programs of others
        for route in router.routes:
            assert isinstance(route, APIRoute)
            models = [field.field_info.annotation for field in query_params(route.dependant)]
            assert len(models) == (0 if is_lenient else 1), route.path
            assert all(
                isinstance(model, type)
                and issubclass(model, BaseModel)
                and model.model_config["extra"] == "forbid"
                for model in models
            ), route.path


def test_calls_that_are_made_the_most_have_fastapi_look_for_nothing() -> None:
    """It looks at each request anew for what each dependency needs itself."""
    busiest = {embed.embed, classify.classify, search.search, openai.embeddings}
    busiest |= {huggingface.feature_extraction, huggingface.zero_shot_image_classification}
    dependants = [route.dependant for route in routes() if route.endpoint in busiest]
    assert len(dependants) == len(busiest)
    assert not any(dependant.dependencies for dependant in dependants)
