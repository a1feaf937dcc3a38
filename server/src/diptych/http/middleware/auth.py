"""Middlewares that reject requests: long heads, foreign hosts and origins, missing API keys.

A page on the web can make a browser send requests to a server on this machine. The check of Host stops DNS
rebinding, where a foreign name resolves to this address. The checks of Origin and Sec-Fetch-Site stop plain
cross-site posts.
"""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from diptych.core.concurrency.fair_queue import acting_for
from diptych.core.keys.key import ANYONE, Key
from diptych.core.limits import MAX_HEAD_BYTES
from diptych.http.access import INVALID_KEY, NO_KEY, attach_caller
from diptych.http.errors.problem_json import respond_http
from diptych.http.state import ServerState

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz"})
PAGE = "/"  # without private content; it asks the user for the key
DOCS = frozenset({"/docs", "/openapi.json"})
METRICS = "/metrics"
STATIC_FOLDER = "/assets/"
# A name or an IPv6 address in brackets, and maybe a port.
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f.]*:[0-9a-f.:]*\])(?::[0-9]*)?", re.ASCII | re.IGNORECASE)
_DEFAULT_PORT = {"http": 80, "https": 443}


class HeadSizeMiddleware:
    """431 for a complete head that is too long. The connection limits heads that do not end."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "http" and (n_bytes := _head_bytes(scope)) > MAX_HEAD_BYTES:
            self._state.count_rejected("head_too_large")
            detail = f"head has {n_bytes} bytes, limit is {MAX_HEAD_BYTES}"
            await respond_http(Request(scope), 431, detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class HostMiddleware:
    """403 for requests that are meant for another server, judged by Host, Origin and Sec-Fetch-Site.

    400 if the Host header is missing or repeated (RFC 9112, 3.2).
    """

    def __init__(
        self, app: ASGIApp, host: str, allowed_hosts: tuple[str, ...], cors_origins: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._cors_origins = frozenset(cors_origins)
        self._names = {host.lower(), "localhost", *(name.lower() for name in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            n_hosts = len(headers.getlist("host"))
            if n_hosts > 1 or (n_hosts == 0 and scope["http_version"] != "1.0"):
                response = respond_http(
                    Request(scope), 400, f"the request has {n_hosts} Host headers, it must have one"
                )
                await response(scope, receive, send)
                return
            problem = None if scope["path"] in PROBES else self._problem(scope["method"], headers)
            if problem:
                await respond_http(Request(scope), 403, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return (
                f"Host {host[:100]!r} is not a name of this server: if it is, add it to DIPTYCH_ALLOWED_HOSTS"
            )
        if method in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin in self._cors_origins:
            return None
        if origin is not None and not same_origin(origin, host):
            return f"Origin {origin[:100]!r} is not this server"
        if headers.get("sec-fetch-site") == "cross-site":
            return "Sec-Fetch-Site is cross-site: a page of another site sent this"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _host_name(host)
        # An IP address cannot be rebound: a client that names one means this machine.
        return name is not None and (name in self._names or "*" in self._names or _is_address(name))


class KeyMiddleware:
    """Finds the key of each request, in `Authorization: Bearer` or `X-API-Key`; 401 if none is valid.

    What the key allows is checked once the route is known: see `http.access`. 404 for paths that are off. In
    queues all requests of a key are one tenant.
    """

    def __init__(self, app: ASGIApp, state: ServerState, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes
        self._keys = state.keys
        options = state.options
        access = {**dict.fromkeys(DOCS, options.docs_access), METRICS: options.metrics_access}
        self._public = PROBES | {PAGE} | {path for path, who in access.items() if who == "public"}
        self._off = {path for path, who in access.items() if who == "off"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] == "http":
            found = self._admit(scope)
            if isinstance(found, Response):
                await found(scope, receive, send)
                return
            with acting_for("" if found is ANYONE else found.prefix):
                await self._app(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Response | Key:
        """Attach and return the caller, or return the refusal."""
        path = scope["path"]
        is_public = path in self._public or path.startswith(STATIC_FOLDER)
        token = _token(Headers(scope=scope))
        caller = ANYONE if is_public else self._keys.caller(token)
        if caller is None:
            self._note_route(scope)
            detail = INVALID_KEY if token else NO_KEY
            return respond_http(Request(scope), 401, detail, {"WWW-Authenticate": "Bearer"})
        if path in self._off:
            return respond_http(Request(scope), 404, f"there is no {path}")
        attach_caller(scope, caller)
        return caller

    def _note_route(self, scope: Scope) -> None:
        """Set the route of a request that no router will see, for the access log and the metrics."""
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                scope["route"] = route
                return


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin has the host and port of the Host header; schemes may differ behind a TLS proxy."""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        default = _DEFAULT_PORT.get(theirs.scheme)
        return (
            default is not None
            and theirs.hostname == ours.hostname
            and (theirs.port or default) == (ours.port or default)
        )
    except ValueError:
        return False


def _head_bytes(scope: Scope) -> int:
    """The size of the target and of the header fields, each with its colon, space and end of line."""
    n_bytes = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return n_bytes + len(scope.get("raw_path", b"")) + len(scope["query_string"])


def _host_name(host: str) -> str | None:
    """The name or address in a Host header; None if the header is not `host[:port]` or `[address][:port]`."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _token(headers: Headers) -> str:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
