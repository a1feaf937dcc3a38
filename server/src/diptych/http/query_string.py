"""Refuse a query string that says one thing twice, or what nobody reads. Knows no parameter by name."""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, ClassVar

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from diptych.errors import InvalidValue

Check = Callable[[Request], None]


def refuse_repeated(request: Request) -> None:
    """InvalidValue naming the parameter: no call takes one twice, and which is meant would be a guess."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, n in counts.items():
        if n > 1:
            raise InvalidValue(f"is there {n} times, once is enough", name[:100])


def refuse_unknown(request: Request) -> None:
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


class LenientRoute(APIRoute):
    """For programs of others, which may say more than we read, but nothing twice.

    The checks are no dependencies: FastAPI looks at each request anew for what each of them needs itself.
    """

    checks: ClassVar[tuple[Check, ...]] = (refuse_repeated,)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request whose query string may be as it is.

        An endpoint that takes the request alone has nothing for FastAPI to find in it, and is called at once:
        dependencies given to the app, or where a router is included, would not be asked, so there are none.
        """
        handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()
        if _takes_request_alone(self.endpoint) and not self.dependencies:
            handle = self.endpoint

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                for check in self.checks:
                    check(request)
            return await handle(request)

        return checked


def _takes_request_alone(endpoint: Callable[..., Any]) -> bool:
    """Whether it is to be given nothing else, and gives a whole answer."""
    signature = inspect.signature(endpoint)
    taken = [(one.annotation, one.kind) for one in signature.parameters.values()]
    returned = signature.return_annotation
    is_answer = isinstance(returned, type) and issubclass(returned, Response)
    is_alone = taken == [(Request, inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    return is_alone and is_answer and inspect.iscoroutinefunction(endpoint)


class StrictRoute(LenientRoute):
    """For all others, where a name that nobody reads is a mistake."""

    checks: ClassVar[tuple[Check, ...]] = (refuse_repeated, refuse_unknown)
