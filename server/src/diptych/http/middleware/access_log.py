"""The middleware that every request comes in by: its id, access log, metrics, bare 500s. Knows no route.

The access log has the caller's address and the route's template, never a path, query string, text or file
name.
"""

import logging
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.core.ports import Stage
from diptych.failpoints import reach
from diptych.http.context import RequestContext, attach_context, working_on
from diptych.http.errors.problem_json import SAFE_HEADERS, respond_http
from diptych.http.state import ServerState

ACCESS_LOG = logging.getLogger("diptych.access")
LOG = logging.getLogger("diptych.http")
CLIENT_GONE = 499  # nginx's number for a caller that hung up; never sent
UNMATCHED = "unmatched"
_TIMED_HERE: frozenset[Stage] = frozenset({"parse", "serialise"})  # the others where they happen


@dataclass
class _Sent:
    """What has gone out so far."""

    status: int = 0


class AccessLogMiddleware:
    """Every request comes in and goes out through here."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = attach_context(scope, Headers(scope=scope).get("x-request-id"))
        with working_on(context):
            await self._answer(scope, receive, send, context)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        sent = _Sent()
        outward = self._labelled(send, context, sent)
        try:
            await self._app(scope, receive, outward)
        except ClientDisconnect:
            sent.status = CLIENT_GONE
        except Exception:  # anything at all: the caller gets an id, the log gets the rest
            LOG.exception("unexpected error", extra={"fields": {"request_id": context.request_id}})
            if sent.status:
                raise  # half an answer is out: only breaking the connection tells the caller
            answer = respond_http(Request(scope), 500, "unexpected error, see the server's log")
            await answer(scope, receive, outward)
        finally:
            self._record(scope, context, sent.status or CLIENT_GONE)

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
        if self._state.services is None:
            return
        metrics = self._state.services.metrics
        metrics.count_request(route, status, seconds)
        for name in _TIMED_HERE & spent.keys():
            metrics.observe_stage(name, spent[name])

    def _labelled(self, send: Send, context: RequestContext, sent: _Sent) -> Send:
        async def labelled(message: Message) -> None:
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

        return labelled


def route_template(scope: Scope) -> str:
    """`/collections/{collection}` for any such path; one word for all paths that no route has."""
    template = getattr(scope.get("route"), "path", None)
    return template if isinstance(template, str) else UNMATCHED
