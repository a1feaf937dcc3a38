"""Who may make which call: each endpoint declares it with `needs`, and its route checks it before each call.

A route whose router does not use `GuardedRoute`, or whose endpoint declares nothing, keeps the server from
starting. Texts of other callers' searches are in rollouts and comparisons, so these need the scope "admin".
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Scope as ASGIScope

from diptych.core.keys.key import Key, Scope
from diptych.errors import Forbidden
from diptych.http.state import state_of

MAX_TARGET_CHARS = 200
READ_ONLY = "this server is read-only (--read-only or DIPTYCH_READ_ONLY): it accepts no changes"
# The second does not say why a key is refused: that would reveal which prefixes exist.
NO_KEY = "an API key is needed: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
INVALID_KEY = "this API key is not valid: unknown, revoked or expired"
_CALLER, _ACCESS, _TARGET = "diptych_caller", "diptych_access", "diptych_target"

# Which collections a call concerns, and so what keys that are limited to some collections may do with it.
# "none": no collection. "path": the one in the path. "chosen": those that the endpoint checks by itself,
# since their names are in the body, the query string or the store. "all": such keys may not make the call.
Concern = Literal["none", "path", "chosen", "all"]


@dataclass(frozen=True)
class Access:
    """The access that a call needs: a scope (None: no key), and the collections that it concerns.

    `action`: the name of an administrative call, which the audit log has.
    """

    scope: Scope | None
    concern: Concern = "none"
    action: str = ""


PUBLIC = Access(None)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def needs(
    scope: Scope | None, *, collections: Concern = "none", action: str = ""
) -> Callable[[Endpoint], Endpoint]:
    """Declare what calls of an endpoint need, between its `@router` line and its function. See `Access`."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ACCESS, Access(scope, collections, action))
        return endpoint

    return declare


class GuardedRoute(APIRoute):
    """A route that checks the key of the caller before anything of the request is read.

    On a read-only server it refuses whatever needs the scope "write" or "admin" and is no GET.
    """

    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        """As the base class, but no path that ends with a line break.

        The "$" of the base class also matches before one: `/metrics%0A` would be `/metrics`, past the
        middlewares, which compare whole paths.
        """
        return (Match.NONE, {}) if scope["path"].endswith("\n") else super().matches(scope)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, behind the check. Raises LookupError if `needs` is missing."""
        access = access_of(self)
        changes = access.scope in {"write", "admin"} and "GET" not in (self.methods or {"GET"})
        handle = super().get_route_handler()

        async def check_and_handle(request: Request) -> Response:
            _check(request, access)
            if changes and state_of(request).options.read_only:
                raise Forbidden(READ_ONLY)
            return await handle(request)

        return check_and_handle


def access_of(route: APIRoute) -> Access:
    """Return the access that calls of a route need; HEAD needs that of GET."""
    access: Access | None = getattr(route.endpoint, _ACCESS, None)
    if access is None:
        raise LookupError(
            f"the endpoint of {route.path} does not say who may call it: decorate it with `needs`"
        )
    return access


def access_table(routes: Iterable[BaseRoute]) -> dict[str, dict[str, Access]]:
    """Return the access that each call needs, by path and method."""
    table: dict[str, dict[str, Access]] = {}
    for route in routes:
        assert isinstance(route, GuardedRoute), f"{route} does not check keys"
        for method in (route.methods or {"GET"}) - {"HEAD"}:
            table.setdefault(route.path, {})[method] = access_of(route)
    return table


def attach_caller(scope: ASGIScope, key: Key) -> None:
    """Record who makes the request."""
    scope["state"][_CALLER] = key


def caller_of(request: Request) -> Key:
    """The key of the caller; `ANYONE` on a server without keys. Not for calls that need no key."""
    caller: Key = request.scope["state"][_CALLER]  # an error if a middleware has let somebody slip through
    return caller


def note_target(request: Request, target: str) -> None:
    """Record what an administrative call acts on, if its path does not say it."""
    request.scope["state"][_TARGET] = target


def audited(scope: ASGIScope) -> dict[str, str] | None:
    """Return the entry of the audit log for an administrative request; None for other calls."""
    state = scope.get("state", {})
    access: Access | None = state.get(_ACCESS)
    if access is None or not access.action:
        return None
    caller: Key = state[_CALLER]
    named = [str(value) for value in scope.get("path_params", {}).values()]
    target = "/".join([*named, *([state[_TARGET]] if _TARGET in state else [])])
    return {
        "key": caller.prefix,
        "key_name": caller.name,
        "action": access.action,
        "target": "".join(c if c.isprintable() else "\ufffd" for c in target[:MAX_TARGET_CHARS]),
    }


def _check(request: Request, access: Access) -> None:
    """Raise Forbidden; NotFound for a collection that the caller does not see, whether it exists or not."""
    if access.scope is None:
        return
    caller = caller_of(request)
    request.scope["state"][_ACCESS] = access
    caller.require(access.scope)
    if access.concern == "path":
        caller.require_seen(request.path_params["collection"])
    elif access.concern == "all":
        caller.require_all_collections()
