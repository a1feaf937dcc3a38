"""Libraries: folders of pictures that the server reads where they are."""

from __future__ import annotations

from diptych_client.binding import Call
from diptych_client.results.libraries import Library
from diptych_client.steps import Request, Steps, path_of, result_of


def libraries() -> Steps[list[Library]]:
    """List the folders that the server was started with, and how far their scans are.

    >>> [library.name for library in client.libraries()]
    ['album']
    """
    return result_of(Request("GET", "/libraries"), list[Library], "libraries")


def scan_library(name: str, *, restore_deleted: bool = False) -> Steps[Library]:
    """Look for changes in a library now. Its state is "scanning" until the end. Raises NotFound.

    Files that were no pictures are read again, and what is gone counts as gone, also if its disk may only be
    away. With `restore_deleted`, pictures that were deleted are added again, if their files are there.
    Changes are noticed without this call, after some seconds.

    >>> client.scan_library("album").state
    'scanning'
    """
    params = {"restore_deleted": "true"} if restore_deleted else {}
    return result_of(Request("POST", path_of("libraries", name, "scan"), params), Library)


class LibraryCalls:
    """The calls of this module, as methods of both clients."""

    libraries = Call(libraries)
    scan_library = Call(scan_library)
