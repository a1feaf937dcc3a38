"""Bounds the connections and the request heads that uvicorn accepts. Knows no route.

uvicorn bounds neither the number of connections, nor the size of a head, nor the time that it takes to come.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from diptych.core.limits import MAX_HEAD_BYTES, Limits
from diptych.core.ports import Reason
from diptych.http.context import new_request_id
from diptych.http.errors.problem_json import http_problem_bytes

ACCESS_LOG = logging.getLogger("diptych.access")
MAX_PIPELINED = 100  # requests sent ahead, each kept until those before it are answered


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a connection limit, a size limit for heads, and a deadline for each head.

    The deadline also limits the rest of a body whose answer was sent early. uvicorn limits the time between
    two requests (`timeout_keep_alive`); the application limits the time of a body and of an answer.
    """

    limits: ClassVar[Limits]
    count_rejected: ClassVar[Callable[[Reason], None]]

    _deadline: asyncio.TimerHandle | None = None
    _served: RequestResponseCycle | None = None  # `cycle` is the last one that came, and may have to wait
    _n_silent = 0  # bytes of reads in a row that began no request and brought nothing of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one connection too many; await the first head of the others."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "connections_full", "all connections are taken")
        else:
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline, and tell the request that is served: uvicorn tells the last one that came."""
        self._end_deadline()
        if self._served is not None:
            self._served.disconnected = True
            self._served.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Hand on what came, then look whether heads and trailers stay within their bounds."""
        scope, cycle, n_body = self.scope, self.cycle, self._n_body()
        super().data_received(data)
        goes_on = self.scope is not scope or self.cycle is not cycle or self._n_body() != n_body
        self._n_silent = 0 if goes_on or self._is_answered() else self._n_silent + len(data)
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()
        elif self._n_silent > MAX_HEAD_BYTES:  # and at most one read of the system beyond it
            self._refuse(431, "head_too_large", f"head is over {MAX_HEAD_BYTES} bytes")
        self._set_deadline()

    def _n_body(self) -> int:
        """Bytes of a body that the application has not taken yet."""
        return 0 if self.cycle is None else len(self.cycle.body)

    def _is_in_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _is_answered(self) -> bool:
        """Whether what comes is thrown away: the rest of a body whose answer was given early."""
        return self.cycle is not None and self.cycle.response_complete and not self._is_in_head()

    def _is_due(self) -> bool:
        """Whether the next bytes out are the answer of the request that is coming in."""
        return self.cycle is self._served and not (self._is_in_head() or self.cycle.response_started)

    def _set_deadline(self) -> None:
        """A deadline that runs is not put off by further bytes, only ended by a whole head."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._end_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_timeout_s, self._too_slow)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._is_in_head():
            self._refuse(408, "header_timeout", "head was not complete in time")
        else:
            self.transport.close()

    def _refuse(self, status: int, reason: Reason, detail: str) -> None:
        """Say why, and hang up; only hang up while the answer of another request is due or on its way."""
        request_id = new_request_id()
        type(self).count_rejected(reason)
        fields = {"status": status, "reason": reason, "request_id": request_id}
        ACCESS_LOG.info(detail, extra={"fields": fields})
        if self.cycle is None or self.cycle.response_complete or self._is_due():
            self.transport.write(http_problem_bytes(status, detail, request_id))
        self.transport.close()


def connection_class(limits: Limits, count: Callable[[Reason], None]) -> type[Connection]:
    """What uvicorn makes for each connection; `count` hears of those that are refused."""

    class Bounded(Connection):
        """Within these limits."""

    Bounded.limits = limits
    Bounded.count_rejected = staticmethod(count)
    return Bounded
