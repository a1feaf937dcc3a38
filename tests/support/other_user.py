"""Another user than the one who runs the tests, for what only some may read or write."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

OTHER = 12345
_DROP_FROM_BOUNDING_SET, _OVERRIDE_MODES, _OVERRIDE_READING = 24, 1, 2  # of <linux/prctl.h>, <capability.h>


def give_up_rights_of_root() -> None:
    """Let the program that this process becomes obey the modes of files, also if it runs as root."""
    if os.geteuid() == 0:
        for right in (_OVERRIDE_MODES, _OVERRIDE_READING):
            assert ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0) == 0


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
