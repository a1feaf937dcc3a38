"""One connection: what it may cost before a request is there and after it is answered. Knows no route.

uvicorn bounds neither the size of a head, nor the time that it takes, nor that in which an answer is read.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from diptych.http.context import BEGAN, new_request_id, request_id_in
from diptych.http.turned_away import (
    FULL,
    LONG_TARGET,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    MAX_TARGET_BYTES,
    NOT_HTTP,
    TOO_LARGE,
    TOO_MANY_AHEAD,
    TOO_SLOW,
    TurnedAway,
)

ACCESS_LOG = logging.getLogger("diptych.access")
HANG_UP_AFTER_S = 2.0  # who is turned away while sending would not see the answer if we hung up at once


@dataclass(frozen=True)
class ConnectionTerms:
    """How long to wait for a whole head, for the next one, and for an answer to be read."""

    header_timeout_s: float = 10.0
    keep_alive_s: float = 30.0
    write_timeout_s: float = 60.0
    max_connections: int = 1000
    count_rejected: Callable[[str], None] = lambda reason: None


class _Stop(Exception):
    """Ends the parsing of a connection's bytes."""


class Connection(HttpToolsProtocol):
    """uvicorn's own, on our terms. Somebody must call `sweep` now and then.

    When there are too many, the connection that has kept us waiting longest makes room for a new one: any
    number of callers who send nothing, or hardly anything, never shut out one who does.
    """

    terms: ClassVar[ConnectionTerms] = ConnectionTerms()

    _waiting_since: float | None = None  # for the caller to go on; None while a request is inside
    _patience_s = 0.0
    _in_head = False
    _in_message = False  # from the first byte of a head to the last of its body
    _n_silent = 0  # bytes since the last of a body: of heads, of trailers, and of nonsense
    _n_answers = 0
    _unread: tuple[float, int] | None = None  # since when an answer waits to be read, and which
    _fault = NOT_HTTP  # why the parser stopped, if it does
    _is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See the class."""
        super().connection_made(transport)
        self._wait(self.terms.header_timeout_s)
        if len(self.connections) > self.terms.max_connections:
            self._find_room()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._is_over:
            return
        self._n_silent += len(data)
        super().data_received(data)
        if self._n_silent > MAX_HEAD_BYTES or (self._in_message and len(self.headers) > MAX_FIELDS):
            self._turn_away(TOO_LARGE)  # a head without end, or a trailer

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(TOO_MANY_AHEAD)
        super().on_message_begin()
        self.scope["state"][BEGAN] = time.perf_counter()
        self._in_head = self._in_message = True
        if not self._is_busy():
            self._wait(self.terms.header_timeout_s)

    def on_headers_complete(self) -> None:
        """The head is there: from here on the application looks after the request."""
        if len(self.url) > MAX_TARGET_BYTES:
            self._stop(LONG_TARGET)
        if len(self.headers) > MAX_FIELDS or (
            self._n_silent > MAX_HEAD_BYTES and self._n_head() > MAX_HEAD_BYTES
        ):
            self._stop(TOO_LARGE)
        super().on_headers_complete()
        self._in_head = False
        self._waiting_since = None

    def on_body(self, body: bytes) -> None:
        """A piece of a body; size and pace are looked after by the application."""
        self._n_silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._in_message = False
        self._n_silent = 0
        super().on_message_complete()
        if not self._is_busy():  # it was answered before it was complete
            self._wait(self.terms.keep_alive_s)

    def on_response_complete(self) -> None:
        """An answer was handed to the system, and waits there to be read."""
        self._n_answers += 1
        super().on_response_complete()
        if not self._is_busy():
            self._wait(self.terms.header_timeout_s if self._in_message else self.terms.keep_alive_s)

    def send_400_response(self, msg: str) -> None:
        """The parser stopped."""
        self._turn_away(self._fault)

    def sweep(self, now: float) -> None:
        """End it if it takes too long; `now` is the event loop's time."""
        if self.transport.get_write_buffer_size() > 0:  # what the system could not take over yet
            self._sweep_unread(now)
            return
        self._unread = None
        if self._waiting_since is not None and now - self._waiting_since > self._patience_s:
            if self._in_head and not self._is_over:
                self._turn_away(TOO_SLOW)
            else:
                self._hang_up()

    def _wait(self, patience_s: float) -> None:
        self._waiting_since, self._patience_s = self.loop.time(), patience_s

    def _is_busy(self) -> bool:
        """Whether a request is inside, or several."""
        return self.cycle is not None and not self.cycle.response_complete

    def _n_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _stop(self, fault: TurnedAway) -> None:
        self._fault = fault
        raise _Stop

    def _find_room(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, Connection) and one.gives_way(self)]
        if waiting:
            self.terms.count_rejected(FULL.reason)
            min(waiting, key=lambda one: one._waiting_since or 0.0)._hang_up()
        else:
            self._turn_away(FULL)

    def gives_way(self, other: "Connection") -> bool:
        """Whether nothing of ours is lost if it ends now."""
        is_idle = self._waiting_since is not None and self.transport.get_write_buffer_size() == 0
        return is_idle and self is not other and not self.transport.is_closing()

    def _sweep_unread(self, now: float) -> None:
        if self._unread is None or self._unread[1] != self._n_answers:
            self._unread = (now, self._n_answers)
        if now - self._unread[0] > self.terms.write_timeout_s:
            self._report("write_timeout", "the answer was not read in time", self._request_id())
            self._hang_up()
        elif self._waiting_since is not None:
            self._waiting_since = now  # the caller still reads

    def _turn_away(self, why: TurnedAway) -> None:
        """Say why and read no more; an answer that is on its way is cut off instead."""
        if self._is_over or self.transport.is_closing():
            return
        request_id = self._request_id() if self._is_busy() else new_request_id()
        self._report(why.reason, why.detail, request_id, why.status)
        if self._is_busy():
            is_answering = bool(self.pipeline) or self.cycle.response_started
            self.cycle.disconnected = True  # what is inside for it has no caller any more
            self.cycle.message_event.set()
            if is_answering:
                self._hang_up()
                return
        self._is_over = True
        self.transport.write(why.answer(request_id))
        self.transport.write_eof()
        self._wait(HANG_UP_AFTER_S)

    def _request_id(self) -> str:
        """Of the last request that came in here."""
        known = request_id_in(self.cycle.scope["state"]) if self.cycle is not None else None
        return known or new_request_id()

    def _report(self, reason: str, detail: str, request_id: str, status: int | None = None) -> None:
        self.terms.count_rejected(reason)
        fields = {"status": status, "reason": reason, "request_id": request_id}
        ACCESS_LOG.info(detail, extra={"fields": fields})

    def _hang_up(self) -> None:
        self._waiting_since = None
        self.transport.abort()


def connection_class(terms: ConnectionTerms) -> type[Connection]:
    """What uvicorn makes for each connection."""

    class OnTerms(Connection):
        """On these terms."""

    OnTerms.terms = terms
    return OnTerms
