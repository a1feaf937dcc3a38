"""What one request carries from the door to the log: its id and the time its stages took. Knows no route."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import Request
from starlette.types import Scope

RequestStage = Literal["parse", "work", "serialise"]

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "diptych_context"


@dataclass
class RequestContext:
    """Made once per request by the outermost middleware; times in seconds."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    stages: dict[RequestStage, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: RequestStage) -> Iterator[None]:
        """Add the time of the block to the stage, whether it succeeds or raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began

    def elapsed_s(self) -> float:
        """Seconds since the request came in."""
        return time.perf_counter() - self.started_s

    def server_timing(self) -> str:
        """The value of a Server-Timing header, in milliseconds."""
        parts = [f"{name};dur={seconds * 1000:.2f}" for name, seconds in self.stages.items()]
        return ", ".join([*parts, f"total;dur={self.elapsed_s() * 1000:.2f}"])


def attach_context(scope: Scope, offered_id: str | None) -> RequestContext:
    """Begin a request: the caller's X-Request-Id is kept when well-formed, else one is made."""
    known = offered_id is not None and _WELL_FORMED_ID.fullmatch(offered_id)
    context = RequestContext(offered_id if known and offered_id else uuid.uuid4().hex)
    scope.setdefault("state", {})[_KEY] = context
    return context


def context_of(request: Request) -> RequestContext:
    """The context of this request."""
    context: RequestContext = request.scope["state"][_KEY]
    return context
