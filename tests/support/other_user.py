"""Another user than the one who runs the tests, for what only some may read or write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

OTHER = 12345


@contextmanager
def as_nobody_in_particular() -> Iterator[None]:
    """Root may write everything, so it is somebody else in the block; others may not write 555 anyway."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(OTHER)
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
