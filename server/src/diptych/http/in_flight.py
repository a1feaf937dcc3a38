"""The requests that were let in and are not answered yet, by their deadlines. Knows no request."""

import asyncio


class InFlightRequests:
    """Used from one event loop, but for `stopping`, which a signal may set at any moment."""

    def __init__(self) -> None:
        self.stopping = False  # nobody is let in any more
        self._deadlines: set[asyncio.Timeout] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    def enter(self, deadline: asyncio.Timeout) -> None:
        """A request came in; its deadline is none once it only has to be waited for."""
        self._deadlines.add(deadline)

    def leave(self, deadline: asyncio.Timeout) -> None:
        """It is answered, or was given up."""
        self._deadlines.discard(deadline)

    def send_away(self) -> None:
        """The time of all is up, but of those that have no deadline any more."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if deadline.when() is not None and not deadline.expired():
                deadline.reschedule(now)
