"""The requests that are being served, by their deadlines."""

import asyncio


class InFlightRequests:
    """Belongs to one event loop; only `stopping` may be set from elsewhere, such as a signal handler."""

    def __init__(self) -> None:
        self.stopping = False  # no further request is accepted
        self._deadlines: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    def add(self, deadline: asyncio.Timeout) -> None:
        """Register a request. Its deadline is unset (None) once its response has begun."""
        self._deadlines.add(deadline)

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Forget a request that was answered or abandoned."""
        self._deadlines.discard(deadline)

    def expire_deadlines(self) -> None:
        """End the time of all requests that still have a deadline."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if deadline.when() is not None and not deadline.expired():
                deadline.reschedule(now)
