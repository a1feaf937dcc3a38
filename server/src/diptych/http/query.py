"""Query strings, whose parameters FastAPI reads into one model for each route."""

from collections.abc import Collection
from typing import get_origin

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from diptych.errors import InvalidValue


def query_model(route: APIRoute) -> type[BaseModel] | None:
    """The model of the route's query string. None: the route ignores its query string."""
    if not route.dependant.query_params:
        return None
    (field,) = route.dependant.query_params
    model = field.field_info.annotation
    assert isinstance(model, type) and issubclass(model, BaseModel), "query strings are models"
    return model


def unknown_parameter(name: str, known: Collection[str]) -> InvalidValue:
    """The error for a parameter that a call does not have, which names those that it has."""
    text = f"there is: {', '.join(sorted(known))}" if known else "this call takes none in its query string"
    return InvalidValue(f"unknown parameter, {text}", name)


async def refuse_repeated_parameters(request: Request) -> None:
    """Raises InvalidValue for a parameter that takes one value and is given several times."""
    given = request.query_params
    if len(given.multi_items()) == len(given):
        return
    model = query_model(request.scope["route"])
    for name, field in model.model_fields.items() if model else ():
        values = given.getlist(name)
        if len(values) > 1 and get_origin(field.annotation) is not list:
            raise InvalidValue(f"is given {len(values)} times, and takes one value", name)
