"""See to it that there are file descriptors for as many connections as are wanted. Knows no connection."""

import logging
import resource

LOG = logging.getLogger("diptych")
FILES_EACH = 2  # of a connection: its socket, and the input of a job that comes in by it
OTHERS = 200  # files, databases, libraries, and connections that are just being taken or let go


def connections_within(wanted: int, n_outgoing: int) -> int:
    """`wanted`, or as many as this process may have beside `n_outgoing` sockets of its own.

    Each may have a file besides, which takes the body of a job. The limit is raised as far as the process may
    raise it itself.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = OTHERS + n_outgoing
    needed = FILES_EACH * wanted + kept
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = max(1, (soft - kept) // FILES_EACH)
    LOG.warning("at most %d connections: this process may open %d files", possible, soft)
    return possible
