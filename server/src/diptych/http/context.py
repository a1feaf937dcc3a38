"""What one request carries from the door to the log: its id and the time its stages took. Knows no route."""

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

RequestStage = Literal["parse", "work", "serialise"]  # what goes on in "work" is timed where it happens

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "diptych_context"
_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass
class RequestContext:
    """Made once per request by the door; times of time.perf_counter()."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    spans: Spans = field(default_factory=Spans)

    @contextmanager
    def stage(self, name: RequestStage) -> Iterator[None]:
        """Add the time of the block to the stage, whether it succeeds or raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spans.add(name, began, time.perf_counter())

    def elapsed_s(self) -> float:
        """Seconds since the request came in."""
        return time.perf_counter() - self.started_s

    def server_timing(self) -> str:
        """The value of a Server-Timing header, in milliseconds."""
        parts = [f"{name};dur={seconds * 1000:.2f}" for name, seconds in self.spans.seconds().items()]
        return ", ".join([*parts, f"total;dur={self.elapsed_s() * 1000:.2f}"])


def attach_context(scope: Scope, offered_id: str | None) -> RequestContext:
    """Begin a request: the caller's X-Request-Id is kept when well-formed, else one is made."""
    state = scope.setdefault("state", {})
    known = offered_id is not None and _WELL_FORMED_ID.fullmatch(offered_id)
    request_id = offered_id if known and offered_id else new_request_id()
    context = RequestContext(request_id)
    state[_KEY] = context
    return context


@contextmanager
def working_on(context: RequestContext) -> Iterator[None]:
    """What is logged and timed in the block, by this task and those that it starts, is of this request."""
    id_before, spans_before = _REQUEST_ID.set(context.request_id), begin_spans(context.spans)
    try:
        yield
    finally:
        end_spans(spans_before)
        _REQUEST_ID.reset(id_before)


def new_request_id() -> str:
    """One that nobody else has."""
    return uuid.uuid4().hex


def context_of(request: Request) -> RequestContext:
    """The context of this request."""
    context: RequestContext = request.scope["state"][_KEY]
    return context


def current_request_id() -> str | None:
    """That of the request that is worked on here; None outside of one."""
    return _REQUEST_ID.get()
