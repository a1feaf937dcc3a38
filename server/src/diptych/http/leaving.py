"""Whether the other side of a connection has left, also while nothing is read from it. Knows no request."""

import asyncio
import select

# Linux tells that nothing will come any more even before what has come was read, as peeking would not.
_NO_MORE = getattr(select, "POLLRDHUP", 0)
_BROKEN = select.POLLHUP | select.POLLERR


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the caller closed its side, or the connection is broken. Asks the system, waits for nothing.

    Only where its last bytes have reached this side: what it sent beyond the system's buffers must be read
    before its end can be known.
    """
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(socket.fileno(), _NO_MORE)
    return any(event & (_NO_MORE | _BROKEN) for _, event in poll.poll(0))
