"""Middleware for request ids, the access and audit logs, metrics, and 500 responses to unexpected exceptions.

The access log has the client's address and the route's template, but never a path, query string, text or file
name: those may be private. The audit log has one line for each administrative call, with its target.
"""

import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.core.ports import Stage
from diptych.failpoints import reach
from diptych.http.access import audited
from diptych.http.context import RequestContext, active_request, attach_context
from diptych.http.errors.problem_json import SAFE_HEADERS, respond_http
from diptych.http.state import ServerState

AUDIT_LOG = logging.getLogger("diptych.audit")
ACCESS_LOG = logging.getLogger("diptych.access")
LOG = logging.getLogger("diptych.http")
CLIENT_DISCONNECTED = 499  # as in nginx: the client disconnected; it is logged, never sent
UNMATCHED = "unmatched"
# Other stages are observed where they happen.
_STAGES_OBSERVED_HERE: frozenset[Stage] = frozenset({"parse", "serialise"})


@dataclass
class _Sent:
    """The status that was sent; 0 before."""

    status: int = 0


class AccessLogMiddleware:
    """Gives each request its context, and records its end.

    All other middlewares but the drain run inside it.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = attach_context(scope, Headers(scope=scope).get("x-request-id"))
        with active_request(context):
            await self._serve(scope, receive, send, context)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        sent = _Sent()
        send_with_headers = self._add_headers(send, context, sent)
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            sent.status = CLIENT_DISCONNECTED
        except Exception:  # the client gets the request id, the log gets the traceback
            LOG.exception("unexpected error", extra={"fields": {"request_id": context.request_id}})
            if sent.status:
                raise  # part of the response was sent: only a closed connection tells the client
            response = respond_http(Request(scope), 500, "unexpected error, see the server's log")
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, context, sent.status or CLIENT_DISCONNECTED)

    def _record(self, scope: Scope, context: RequestContext, status: int) -> None:
        route = route_template(scope)
        seconds = time.perf_counter() - context.started_s
        spent = context.spans.seconds()
        client = scope.get("client")
        times = {f"{name}_ms": round(s * 1000, 2) for name, s in spent.items()}
        fields = {
            "client": client[0] if client else None,
            "method": scope["method"],
            "route": route,
            "status": status,
            "total_ms": round(seconds * 1000, 2),
            **times,
            "request_id": context.request_id,
        }
        ACCESS_LOG.info("request", extra={"fields": fields})
        if (action := audited(scope)) is not None:
            entry = {**action, "status": status, "client": fields["client"], "request_id": context.request_id}
            AUDIT_LOG.info("administrative call", extra={"fields": entry})
        if self._state.services is None:
            return
        metrics = self._state.services.metrics
        metrics.count_request(route, status, seconds)
        for name in _STAGES_OBSERVED_HERE & spent.keys():
            metrics.observe_stage(name, spent[name])

    def _add_headers(self, send: Send, context: RequestContext, sent: _Sent) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = context.request_id
                headers["Server-Timing"] = context.server_timing()
                headers.update(SAFE_HEADERS)
                reach("answer.before")
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                reach("answer.after")

        return send_with_headers


def route_template(scope: Scope) -> str:
    """The path template of the route, such as `/collections/{collection}`; UNMATCHED if there is no route."""
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else UNMATCHED
