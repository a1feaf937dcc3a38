"""One connection: what it may cost before a request is there and after it is answered. Knows no route.

uvicorn bounds neither the size of a head, nor the time that it takes, nor that in which an answer is read.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from diptych.core.ports import Reason
from diptych.http.context import BEGAN, new_request_id, request_id_in
from diptych.http.crowd import first_to_go, pace_of
from diptych.http.leaving import has_left
from diptych.http.turned_away import (
    FULL,
    GAVE_WAY,
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
MAX_TURNED_AWAY = 100  # that are open for it, beside the connections that may be


@dataclass(frozen=True)
class ConnectionTerms:
    """How long to wait for a whole head, for the next one, and for an answer to be read."""

    header_timeout_s: float = 10.0
    keep_alive_s: float = 30.0
    write_timeout_s: float = 60.0
    max_connections: int = 1000
    count_rejected: Callable[[Reason], None] = lambda reason: None


class _Stop(Exception):
    """Ends the parsing of a connection's bytes."""


class Connection(HttpToolsProtocol):
    """uvicorn's own, on our terms. Somebody must call `sweep` now and then.

    When there are too many, one that keeps us waiting makes room for a new one (see `crowd`): any number of
    callers who send nothing, or hardly anything, never shut out one who does. Whoever leaves is missed while
    its requests are inside, also when it has sent others ahead and so is not being read from.
    """

    terms: ClassVar[ConnectionTerms] = ConnectionTerms()

    _waiting_since: float | None = None  # for the caller to go on; None while a request is inside
    _patience_s = 0.0
    _in_head = False
    _in_message = False  # from the first byte of a head to the last of its body
    _inside: RequestResponseCycle | None = None  # the request being answered; `cycle` is the last that came
    _body_since: float | None = None  # while the rest of a body is to come, since its head was there
    _n_body = 0  # bytes of it so far
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

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the request that is inside, where uvicorn tells only the last one that came."""
        super().connection_lost(exc)
        self._tell_inside()

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
        self._body_since, self._n_body = self.loop.time(), 0
        if not self.pipeline:
            self._inside = self.cycle

    def on_body(self, body: bytes) -> None:
        """A piece of a body; size and pace are looked after by the application."""
        self._n_silent = 0
        self._n_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._in_message = False
        self._body_since = None
        self._n_silent = 0
        super().on_message_complete()
        if not self._is_busy():  # it was answered before it was complete
            self._wait(self.terms.keep_alive_s)

    def on_response_complete(self) -> None:
        """An answer was handed to the system, and waits there to be read."""
        self._n_answers += 1
        if self.pipeline:
            self._inside = self.pipeline[-1][0]  # is begun now
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
        elif self._is_unheard() and has_left(self.transport):
            self._hang_up()

    def silent_since(self) -> float | None:
        """See crowd.Member. None also while an answer is being read."""
        return self._waiting_since if self.transport.get_write_buffer_size() == 0 else None

    def body_pace(self, now: float) -> float | None:
        """See crowd.Member. None also while it is we who do not read on, or others are inside before it."""
        if self._body_since is None or self.pipeline or self.flow.read_paused:
            return None
        return pace_of(self._n_body, now - self._body_since)

    def is_answering(self) -> bool:
        """Whether a request is inside, or an answer waits to be read."""
        return self._is_busy() or self.transport.get_write_buffer_size() > 0

    def _is_unheard(self) -> bool:
        """Whether work goes on for a caller whose end would not be heard: reading stopped after its body."""
        inside = self._inside
        is_at_work = inside is not None and not (inside.response_complete or inside.more_body)
        return is_at_work and self.flow.read_paused and not self.transport.is_closing()

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
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        others = [one for one in others if not one.transport.is_closing()]
        told = sorted((one for one in others if one._is_over), key=lambda one: one._waiting_since or 0.0)
        for one in told[: max(0, len(told) - MAX_TURNED_AWAY)]:
            one._hang_up()
        staying = [one for one in others if not one._is_over]
        if len(staying) < self.terms.max_connections:
            return
        first = first_to_go(staying, self.loop.time())
        if first is None:
            self._turn_away(FULL)
        elif first._waiting_since is None:
            first._turn_away(GAVE_WAY)
        else:
            self.terms.count_rejected(FULL.reason)
            first._hang_up()

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
            self._tell_inside()
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

    def _report(self, reason: Reason, detail: str, request_id: str, status: int | None = None) -> None:
        self.terms.count_rejected(reason)
        fields = {"status": status, "reason": reason, "request_id": request_id}
        ACCESS_LOG.info(detail, extra={"fields": fields})

    def _hang_up(self) -> None:
        self._waiting_since = None
        self._tell_inside()
        self.transport.abort()

    def _tell_inside(self) -> None:
        """What is inside has no caller any more."""
        if self._inside is not None and not self._inside.response_complete:
            self._inside.disconnected = True
            self._inside.message_event.set()


def connection_class(terms: ConnectionTerms) -> type[Connection]:
    """What uvicorn makes for each connection."""

    class OnTerms(Connection):
        """On these terms."""

    OnTerms.terms = terms
    return OnTerms
