"""Refuse a query string that says one thing twice, or what nobody reads. Knows no parameter by name."""

from collections import Counter
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from diptych.errors import InvalidValue


async def refuse_repeated(request: Request) -> None:
    """InvalidValue naming the parameter: no call takes one twice, and which is meant would be a guess."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, n in counts.items():
        if n > 1:
            raise InvalidValue(f"is there {n} times, once is enough", name[:100])


async def refuse_unknown(request: Request) -> None:
    """InvalidValue naming the first parameter that the route does not have, and those that it has."""
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    known = sorted(set(_parameters_of(route.dependant)))
    for name in request.query_params:
        if name not in known:
            raise InvalidValue(
                "no such parameter is known here, "
                + (f"there is: {', '.join(known)}" if known else "this call has none in its query string"),
                name[:100],
            )


def _parameters_of(dependant: Dependant) -> Iterator[str]:
    """Of a route and all that it depends on; a model stands for its fields."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from (one.alias or name for name, one in annotation.model_fields.items())
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _parameters_of(inner)
