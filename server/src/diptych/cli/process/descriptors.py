"""Raise the limit of file descriptors for the wanted number of connections, or lower that number."""

import logging
import resource

LOG = logging.getLogger("diptych")
FILES_PER_CONNECTION = 2  # its socket, and a file for the body of a job
OTHER_FILES = 200  # files, databases, libraries, and connections that are being opened or closed


def max_connections_within(wanted: int, n_outgoing: int) -> int:
    """Return `wanted`, or the largest number of connections that this process can have.

    Each connection may need a file for the body of a job, and the process has `n_outgoing` sockets of its
    own. The limit of open files is raised as far as the process may raise it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = OTHER_FILES + n_outgoing
    needed = FILES_PER_CONNECTION * wanted + reserved
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = max(1, (soft - reserved) // FILES_PER_CONNECTION)
    LOG.warning("at most %d connections: this process may open %d files", possible, soft)
    return possible
