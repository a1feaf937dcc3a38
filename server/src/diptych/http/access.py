"""Who may make which call: one table of all routes, and the check that runs before each of them.

A route whose router does not use `GuardedRoute`, or that is not in the table, keeps the server from starting.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Scope as ASGIScope

from diptych.core.keys.key import ANYONE, Key, Scope

_CALLER = "diptych_caller"

# Which collections a call concerns, and so what keys that are limited to some collections may do with it.
# "none": no collection. "path": the one in the path. "chosen": those that the endpoint checks by itself,
# since their names are in the body, the query string or the store. "all": such keys may not make the call.
Concern = Literal["none", "path", "chosen", "all"]


@dataclass(frozen=True)
class Access:
    """What a call needs: a scope (None: not even a key), and what it does with collections."""

    scope: Scope | None
    concern: Concern = "none"


PUBLIC = Access(None)
_READ, _WRITE, _ADMIN = Access("read"), Access("write"), Access("admin", "all")
_READ_ONE, _WRITE_ONE = Access("read", "path"), Access("write", "path")
_READ_CHOSEN, _WRITE_CHOSEN = Access("read", "chosen"), Access("write", "chosen")
_READ_ALL = Access("read", "all")

_COLLECTION = "/collections/{collection}"
_IMAGE = f"{_COLLECTION}/images/{{id}}"
_VERSION = "/models/{name}/versions/{version}"

# Texts of other callers' searches are in rollouts and comparisons, so these need the scope "admin".
ACCESS: dict[str, dict[str, Access]] = {
    "/": {"GET": PUBLIC},
    "/docs": {"GET": PUBLIC},
    "/openapi.json": {"GET": PUBLIC},
    "/assets/{path:path}": {"GET": PUBLIC},
    "/healthz": {"GET": PUBLIC},
    "/readyz": {"GET": PUBLIC},
    "/version": {"GET": _READ},
    "/metrics": {"GET": _READ_ALL},
    "/embed": {"POST": _READ},
    "/classify": {"POST": _READ},
    "/search": {"GET": _READ_CHOSEN, "POST": _READ_CHOSEN},
    "/collections": {"GET": _READ_CHOSEN, "POST": _WRITE_CHOSEN},
    _COLLECTION: {"GET": _READ_ONE, "PATCH": _WRITE_ONE, "DELETE": _WRITE_ONE},
    f"{_COLLECTION}/deletions": {"POST": _WRITE_ONE},
    f"{_COLLECTION}/lookups": {"POST": _READ_ONE},
    f"{_COLLECTION}/vectors": {"POST": _WRITE_ONE},
    f"{_COLLECTION}/images": {"GET": _READ_ONE, "POST": _WRITE_ONE},
    _IMAGE: {"GET": _READ_ONE, "PATCH": _WRITE_ONE, "DELETE": _WRITE_ONE},
    f"{_IMAGE}/original": {"GET": _READ_ONE},
    f"{_IMAGE}/thumbnail": {"GET": _READ_ONE},
    "/jobs": {"GET": _READ_CHOSEN},
    "/jobs/{job}": {"GET": _READ_CHOSEN, "DELETE": _WRITE_CHOSEN},
    "/jobs/{job}/outcomes": {"GET": _READ_CHOSEN},
    "/jobs/{job}/events": {"GET": _READ_CHOSEN},
    "/models": {"GET": _READ_CHOSEN},
    "/models/{name}": {"GET": _READ},
    "/models/{name}/versions": {"POST": _ADMIN},
    _VERSION: {"GET": _READ},
    f"{_VERSION}/activate": {"POST": _ADMIN},
    f"{_VERSION}/comparison": {"GET": _ADMIN},
    "/rollouts": {"GET": _ADMIN},
    "/rollouts/{rollout}": {"GET": _ADMIN, "DELETE": _ADMIN},
    "/keys": {"GET": _ADMIN, "POST": _ADMIN},
    "/keys/{prefix}": {"DELETE": _ADMIN},
    "/v1/embeddings": {"POST": _READ},
    "/v1/models": {"GET": _READ},
}


class GuardedRoute(APIRoute):
    """A route that checks the key of the caller before anything of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, behind the check. Raises KeyError for a route without an entry."""
        access = access_of(self)
        handle = super().get_route_handler()

        async def check_and_handle(request: Request) -> Response:
            _check(request, access)
            return await handle(request)

        return check_and_handle


def access_of(route: APIRoute) -> Access:
    """What calls of a route need; HEAD needs what GET does."""
    (access,) = {ACCESS[route.path][method] for method in (route.methods or {"GET"}) - {"HEAD"}}
    return access


def attach_caller(scope: ASGIScope, key: Key) -> None:
    """Record who makes the request."""
    scope["state"][_CALLER] = key


def caller_of(request: Request) -> Key:
    """The key of the caller; `ANYONE` on a server without keys, and of a call that needs no key."""
    caller: Key = request.scope["state"].get(_CALLER, ANYONE)
    return caller


def _check(request: Request, access: Access) -> None:
    """Raise Forbidden; NotFound for a collection that the caller does not see, whether it exists or not."""
    if access.scope is None:
        return
    caller = caller_of(request)
    caller.require(access.scope)
    if access.concern == "path":
        caller.require_seen(request.path_params["collection"])
    elif access.concern == "all":
        caller.require_all_collections()
