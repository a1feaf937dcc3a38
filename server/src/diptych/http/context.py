"""The context of one request: its id and the time that its stages took."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import Request
from starlette.types import Scope

from diptych.core.timing import Spans, begin_spans, end_spans

RequestStage = Literal["parse", "work", "serialise"]  # "work" is timed by the code that does it

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "diptych_context"
_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass
class RequestContext:
    """Created once for each request by the access log middleware. Times are of time.perf_counter()."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    spans: Spans = field(default_factory=Spans)

    @contextmanager
    def stage(self, name: RequestStage) -> Iterator[None]:
        """Add the duration of the block to the stage, whether it succeeds or raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spans.add(name, began, time.perf_counter())

    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started_s

    def server_timing(self) -> str:
        """The value of a Server-Timing header, in milliseconds."""
        parts = [f"{name};dur={seconds * 1000:.2f}" for name, seconds in self.spans.seconds().items()]
        return ", ".join([*parts, f"total;dur={self.elapsed_s() * 1000:.2f}"])


def attach_context(scope: Scope, offered_id: str | None) -> RequestContext:
    """Create the context of a request. A well-formed X-Request-Id of the client is kept, else one is made."""
    state = scope.setdefault("state", {})
    is_valid = offered_id is not None and _WELL_FORMED_ID.fullmatch(offered_id)
    request_id = offered_id if is_valid and offered_id else new_request_id()
    context = RequestContext(request_id)
    state[_KEY] = context
    return context


@contextmanager
def active_request(context: RequestContext) -> Iterator[None]:
    """Attribute logs and times of the block to this request, including those of tasks started in it."""
    id_before, spans_before = _REQUEST_ID.set(context.request_id), begin_spans(context.spans)
    try:
        yield
    finally:
        end_spans(spans_before)
        _REQUEST_ID.reset(id_before)


def new_request_id() -> str:
    """A unique request id."""
    return uuid.uuid4().hex


def context_of(request: Request) -> RequestContext:
    """The context of this request."""
    context: RequestContext = request.scope["state"][_KEY]
    return context


def current_request_id() -> str | None:
    """The id of the request that this task serves; None outside of a request."""
    return _REQUEST_ID.get()
