"""Ask the operating system for the addresses of a name, off the event loop. Judges none of them."""

import asyncio
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address

from diptych.core.public_addresses import IPAddress


class SystemResolver:
    """At most `max_at_once` names are looked up at once.

    The threads are daemons of its own: a name server that hangs holds up neither the loop's other threads
    nor the end of the process. A look-up whose caller went away keeps its turn until it ends.
    """

    def __init__(self, max_at_once: int) -> None:
        self._turns = asyncio.Semaphore(max_at_once)

    async def __call__(self, host: str) -> list[IPAddress]:
        """Every address of the name, each once, in the order in which the system would try them.

        Raises OSError when there is none.
        """
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[IPAddress]] = loop.create_future()

        def look_up() -> None:
            outcome = _outcome(host)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._finish, found, outcome)

        try:
            threading.Thread(target=look_up, name="resolve", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._turns.release()
            raise OSError(str(error)) from error
        return await found

    def _finish(self, found: "asyncio.Future[list[IPAddress]]", outcome: list[IPAddress] | OSError) -> None:
        self._turns.release()
        if found.done():
            return
        if isinstance(outcome, OSError):
            found.set_exception(outcome)
        else:
            found.set_result(outcome)


def _outcome(host: str) -> list[IPAddress] | OSError:
    try:
        # As bytes: a name in ASCII is not put through Python's older IDNA once more.
        rows = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(str(row[4][0])) for row in rows))
    except (OSError, ValueError) as error:
        return error if isinstance(error, OSError) else OSError(str(error))
