"""Resolves names with the operating system, in threads outside the event loop."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from diptych.core.fetching.public_addresses import IPAddress
from diptych.core.ports import Metrics
from diptych.errors import Overloaded

SHARE = 4  # the names of one domain may take a quarter of the concurrent look-ups
RETRY_S = 5.0  # the system's default time-out for one try at one name server

Outcome = list[IPAddress] | OSError
Running = asyncio.Future[Outcome]


class SystemResolver:
    """Looks up at most `max_at_once` names at once, and at most a quarter of them in any one domain.

    A look-up cannot be cancelled: the system may wait for a silent name server for half a minute, long after
    the caller has gone. Until then it keeps its slot and its thread, and further calls for the same name join
    it. Each look-up has a daemon thread of its own, so that a hanging one delays neither the loop's other
    threads nor the end of the process. Use from one event loop only.
    """

    def __init__(self, max_at_once: int, metrics: Metrics) -> None:
        self._max_at_once = max_at_once
        self._max_of_domain = max(1, max_at_once // SHARE)
        self._metrics = metrics
        self._running: dict[str, Running] = {}

    async def __call__(self, host: str) -> list[IPAddress]:
        """Every address of the name once, in the order in which the system would try them.

        Raises OSError if there is none. Raises Overloaded at once, without waiting, if too many names are
        being looked up: a slot held by a silent name server is freed only after the caller's deadline.
        """
        running = self._running.get(host) or self._start(host)
        outcome = await asyncio.shield(
            running
        )  # other calls may have joined: a cancelled call only stops waiting
        if isinstance(outcome, OSError):
            raise OSError(str(outcome))  # a new error for each waiting call
        return list(outcome)

    def _start(self, host: str) -> Running:
        n_of_domain = sum(_domain(other) == _domain(host) for other in self._running)
        if n_of_domain >= self._max_of_domain:
            raise self._overloaded(
                f"{n_of_domain} names of its domain are being looked up without an answer yet"
            )
        if len(self._running) >= self._max_at_once:
            raise self._overloaded(f"{self._max_at_once} names are being looked up without an answer yet")
        loop = asyncio.get_running_loop()
        running: Running = loop.create_future()

        def look_up() -> None:
            outcome = _outcome(host)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._finish, host, outcome)

        try:
            threading.Thread(target=look_up, name="resolve", daemon=True).start()
        except RuntimeError:
            raise self._overloaded("its name cannot be looked up, the system has no more threads") from None
        self._running[host] = running
        return running

    def _finish(self, host: str, outcome: Outcome) -> None:
        self._running.pop(host).set_result(outcome)  # never an exception: no call may be left to retrieve it

    def _overloaded(self, message: str) -> Overloaded:
        self._metrics.count_rejected("fetch_full")
        return Overloaded(message, RETRY_S)


def _domain(host: str) -> str:
    """The last two labels of the name. All of `co.uk` counts as one domain."""
    return ".".join(host.split(".")[-2:])


def _outcome(host: str) -> Outcome:
    try:
        # As bytes, so that Python does not apply its older IDNA to the ASCII name.
        rows = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(str(row[4][0])) for row in rows))
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))
