"""Ask the operating system for the addresses of a name, off the event loop. Judges none of them."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from diptych.core.fetching.public_addresses import IPAddress
from diptych.core.ports import Metrics
from diptych.errors import Overloaded

SHARE = 4  # the names of one domain have at most this part of what may be looked up at once
RETRY_S = 5.0  # what the system gives one name server for one try, where nothing else is configured

Outcome = list[IPAddress] | OSError
Running = asyncio.Future[Outcome]


class SystemResolver:
    """At most `max_at_once` names are looked up at once, a quarter of them of any one domain.

    The system cannot be told to give up: it may ask a silent name server for half a minute, long after the
    caller went away. Such a look-up keeps its turn and its thread until it ends, and whoever asks for the
    same name meanwhile joins it. Threads are daemons of its own: a hanging one holds up neither the loop's
    other threads nor the end of the process. Used from one event loop.
    """

    def __init__(self, max_at_once: int, metrics: Metrics) -> None:
        self._max_at_once = max_at_once
        self._max_of_domain = max(1, max_at_once // SHARE)
        self._metrics = metrics
        self._running: dict[str, Running] = {}

    async def __call__(self, host: str) -> list[IPAddress]:
        """Every address of the name, each once, in the order in which the system would try them.

        Raises OSError when there is none, and Overloaded at once, not after a wait, when too many names are
        being looked up: a turn that a silent name server holds comes back after the caller's time is up.
        """
        running = self._running.get(host) or self._started(host)
        outcome = await asyncio.shield(running)  # others may have joined, so a caller cancels only its wait
        if isinstance(outcome, OSError):
            raise OSError(str(outcome))  # a new one for each who waits
        return list(outcome)

    def _started(self, host: str) -> Running:
        n_of_domain = sum(_domain(other) == _domain(host) for other in self._running)
        if n_of_domain >= self._max_of_domain:
            raise self._full(f"{n_of_domain} names of its domain are being looked up without an answer yet")
        if len(self._running) >= self._max_at_once:
            raise self._full(f"{self._max_at_once} names are being looked up without an answer yet")
        loop = asyncio.get_running_loop()
        running: Running = loop.create_future()

        def look_up() -> None:
            outcome = _outcome(host)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._finish, host, outcome)

        try:
            threading.Thread(target=look_up, name="resolve", daemon=True).start()
        except RuntimeError:
            raise self._full("its name cannot be looked up, the system has no more threads") from None
        self._running[host] = running
        return running

    def _finish(self, host: str, outcome: Outcome) -> None:
        self._running.pop(host).set_result(outcome)  # a result in any case: nobody may be there to hear it

    def _full(self, message: str) -> Overloaded:
        self._metrics.count_rejected("fetch_full")
        return Overloaded(message, RETRY_S)


def _domain(host: str) -> str:
    """The last two labels, where most names are given out; a whole `co.uk` counts as one."""
    return ".".join(host.split(".")[-2:])


def _outcome(host: str) -> Outcome:
    try:
        # As bytes: a name in ASCII is not put through Python's older IDNA once more.
        rows = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(str(row[4][0])) for row in rows))
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))
