"""Limits the connections and the request heads that uvicorn accepts.

uvicorn limits neither the number of connections, nor the size of a head, nor the time that a head takes.
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
MAX_PIPELINED = 100  # requests that a client sends before the response to the first


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a connection limit, a size limit for heads, and a deadline for each head.

    The deadline also limits the rest of a body whose response was sent early. uvicorn limits the time between
    two requests (`timeout_keep_alive`); the application limits the time of a body and of a response.
    """

    limits: ClassVar[Limits]
    count_rejected: ClassVar[Callable[[Reason], None]]

    _deadline: asyncio.TimerHandle | None = None
    _current: RequestResponseCycle | None = None  # is being served; `cycle` arrived last and may have to wait
    _n_idle_bytes = 0  # bytes since the last read that began a request or brought bytes of a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reject a connection over the limit; start the deadline for the first head of the others."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._reject(503, "connections_full", "all connections are taken")
        else:
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline, and notify the request being served.

        Uvicorn notifies only the last that arrived.
        """
        self._end_deadline()
        if self._current is not None:
            self._current.disconnected = True
            self._current.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Pass the data on, then check that heads and trailers stay within their limits."""
        scope, cycle, n_body = self.scope, self.cycle, self._n_body()
        super().data_received(data)
        has_progress = self.scope is not scope or self.cycle is not cycle or self._n_body() != n_body
        self._n_idle_bytes = 0 if has_progress or self._is_draining() else self._n_idle_bytes + len(data)
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()
        elif self._n_idle_bytes > MAX_HEAD_BYTES:  # the excess is at most one read of the socket
            self._reject(431, "head_too_large", f"head is over {MAX_HEAD_BYTES} bytes")
        self._set_deadline()

    def _n_body(self) -> int:
        """Bytes of a body that the application has not read yet."""
        return 0 if self.cycle is None else len(self.cycle.body)

    def _is_in_head(self) -> bool:
        """Whether the head of a request has begun and is not complete."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _is_draining(self) -> bool:
        """Whether incoming data is dropped: the rest of a body whose response was sent early."""
        return self.cycle is not None and self.cycle.response_complete and not self._is_in_head()

    def _is_due(self) -> bool:
        """Whether the next response on this connection belongs to the request that is arriving."""
        return self.cycle is self._current and not (self._is_in_head() or self.cycle.response_started)

    def _set_deadline(self) -> None:
        """Start the deadline unless a request is being served.

        More bytes do not extend it; a complete head ends it.
        """
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
            self._reject(408, "header_timeout", "head was not complete in time")
        else:
            self.transport.close()

    def _reject(self, status: int, reason: Reason, detail: str) -> None:
        """Send an error and close the connection.

        Only close it while the response to another request is pending or being sent.
        """
        request_id = new_request_id()
        type(self).count_rejected(reason)
        fields = {"status": status, "reason": reason, "request_id": request_id}
        ACCESS_LOG.info(detail, extra={"fields": fields})
        if self.cycle is None or self.cycle.response_complete or self._is_due():
            self.transport.write(http_problem_bytes(status, detail, request_id))
        self.transport.close()


def connection_class(limits: Limits, count: Callable[[Reason], None]) -> type[Connection]:
    """The protocol class for uvicorn; `count` is called with the reason of each rejection."""

    class LimitedConnection(Connection):
        """A connection with these limits."""

    LimitedConnection.limits = limits
    LimitedConnection.count_rejected = staticmethod(count)
    return LimitedConnection
