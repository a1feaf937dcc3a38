"""Who may make which call: one table of all routes, and the check that runs before each of them.

A route whose router does not use `GuardedRoute`, or that is not in the table, keeps the server from starting.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope as ASGIScope

from diptych.core.keys.key import Key, Scope
from diptych.errors import Forbidden
from diptych.http.state import state_of

MAX_TARGET_CHARS = 200
READ_ONLY = "this server is read-only (--read-only or DIPTYCH_READ_ONLY): it accepts no changes"
# The second does not say why a key is refused: that would tell whoever guesses which prefixes exist.
NO_KEY = "an API key is needed: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
INVALID_KEY = "this API key is not valid: unknown, revoked or expired"
_CALLER, _ACCESS, _TARGET = "diptych_caller", "diptych_access", "diptych_target"

# Which collections a call concerns, and so what keys that are limited to some collections may do with it.
# "none": no collection. "path": the one in the path. "chosen": those that the endpoint checks by itself,
# since their names are in the body, the query string or the store. "all": such keys may not make the call.
Concern = Literal["none", "path", "chosen", "all"]


@dataclass(frozen=True)
class Access:
    """What a call needs: a scope (None: not even a key), and what it does with collections.

    `action`: the name of an administrative call, which the audit log has.
    """

    scope: Scope | None
    concern: Concern = "none"
    action: str = ""


PUBLIC = Access(None)
_READ, _ADMIN = Access("read"), Access("admin", "all")
_READ_ONE, _WRITE_ONE = Access("read", "path"), Access("write", "path")
_READ_CHOSEN, _WRITE_CHOSEN = Access("read", "chosen"), Access("write", "chosen")
_READ_ALL = Access("read", "all")


def _admin(action: str) -> Access:
    return Access("admin", "all", action)


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
    "/classify": {"POST": _READ_CHOSEN},
    "/search": {"GET": _READ_CHOSEN, "POST": _READ_CHOSEN},
    "/collections": {"GET": _READ_CHOSEN, "POST": Access("write", "chosen", "create collection")},
    _COLLECTION: {
        "GET": _READ_ONE,
        "PATCH": Access("write", "path", "change collection"),
        "DELETE": Access("write", "path", "drop collection"),
    },
    f"{_COLLECTION}/deletions": {"POST": _WRITE_ONE},
    f"{_COLLECTION}/lookups": {"POST": _READ_ONE},
    f"{_COLLECTION}/vectors": {"POST": _WRITE_ONE},
    f"{_COLLECTION}/duplicates": {"GET": _READ_ONE},
    f"{_COLLECTION}/fields": {"GET": _READ_ONE},
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
    "/models/{name}/versions": {"POST": _admin("push version")},
    _VERSION: {"GET": _READ},
    f"{_VERSION}/card": {"GET": _READ},
    f"{_VERSION}/card/{{file}}": {"GET": _READ},
    f"{_VERSION}/activate": {"POST": _admin("activate version")},
    f"{_VERSION}/comparison": {"GET": _ADMIN},
    "/rollouts": {"GET": _ADMIN},
    "/rollouts/{rollout}": {"GET": _ADMIN, "DELETE": _admin("cancel rollout")},
    "/keys": {"GET": _ADMIN, "POST": _admin("create key")},
    "/keys/{prefix}": {"DELETE": _admin("revoke key")},
    "/v1/embeddings": {"POST": _READ},
    "/v1/health": {"GET": _READ},
    "/v1/models": {"GET": _READ},
    "/v1/models/{model}": {"GET": _READ},
    "/hf/zero-shot-image-classification": {"POST": _READ},
    "/hf/feature-extraction": {"POST": _READ},
}


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
        """The handler of the route, behind the check. Raises KeyError for a route without an entry."""
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
    """What calls of a route need; HEAD needs what GET does."""
    (access,) = {ACCESS[route.path][method] for method in (route.methods or {"GET"}) - {"HEAD"}}
    return access


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
    """What the audit log says of a request: who did what to what. None for other calls."""
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
