"""The program of a decoder process: runs image decoders on one item at a time, within limits.

It imports little, so that the replacement of a crashed process starts quickly.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin

from diptych.bundle.image.geometry import resized_size
from diptych.bundle.image.preprocess import (
    DecodeMode,
    ImageInfo,
    ImageLimits,
    load_pixels,
    silence_decoders,
    thumbnail,
)
from diptych.bundle.manifest import ImageSpec
from diptych.errors import UndecodableImage

NICENESS = 5  # so that a slow file takes less processor time from other requests
# The processor time of a picture once its header is read. Slow ones took 25 ns a pixel and 90 ns a byte.
DECODE_S = 1
S_PER_PX = 100e-9
S_PER_BYTE = 400e-9
ORPHAN_S = 5  # beyond the wall time, when the parent would have ended this process if it were alive


@dataclass(frozen=True)
class ChildLimits:
    """The memory that a decoder process may use beyond what it starts with, and the time for each item.

    `cpu_s` is the processor time for the header of a picture; the time for its pixels follows from its size.
    """

    memory_bytes: int
    cpu_s: int
    wall_s: float


def load_picture(
    payload: bytes, spec: ImageSpec, limits: ImageLimits, mode: DecodeMode
) -> tuple[ImageInfo, NDArray[np.uint8]]:
    """Return what the header states and the (S, S, 3) pixels for the model. Raises as `load_pixels` does."""
    seen: list[ImageInfo] = []

    def on_header(info: ImageInfo) -> None:
        seen.append(info)
        width, height = resized_size(info.width, info.height, spec)  # the resized intermediate counts too
        _limit_pixels(info.width * info.height + width * height, len(payload))

    pixels = load_pixels(payload, spec, limits, mode, on_header)
    return seen[0], pixels


def load_thumbnail(payload: bytes, limits: ImageLimits, size_px: int) -> bytes:
    """Make a thumbnail as `preprocess.thumbnail` does, within the limits of this process."""
    return thumbnail(
        payload, limits, size_px, lambda info: _limit_pixels(info.width * info.height, len(payload))
    )


def main() -> None:
    """Receive the limits, report which cannot be set, then run items until the parent closes the pipe."""
    connection = Connection(int(sys.argv[1]))
    for stop in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole process group, while the parent finishes its requests
        signal.signal(stop, signal.SIG_IGN)
    with suppress(EOFError, OSError):  # the parent has closed the pipe, or died
        limits: ChildLimits = connection.recv()
        AvifImagePlugin.DEFAULT_MAX_THREADS = (
            1  # each thread reserves address space, and the processes run in parallel
        )
        silence_decoders()
        connection.send(_limit_process(limits))
        # To stderr libtiff writes a line for each damaged row, and libc when it aborts; neither belongs in
        # the log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        while True:
            work, args, options = connection.recv()
            connection.send(_outcome(limits, partial(work, *args, **options)))


def _outcome(limits: ChildLimits, work: Callable[[], object]) -> tuple[bool, Any]:
    """Run `work`; return (whether it returned, what it returned or raised)."""
    _limit_item(limits)
    try:
        return True, work()
    except MemoryError:
        return False, UndecodableImage("the image decoder ran out of memory")
    except Exception as error:
        return False, error.with_traceback(None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_process(limits: ChildLimits) -> str:
    """Set the limits for the whole life of this process. Return why memory is not limited; empty if it is."""
    os.nice(NICENESS)
    with suppress(OSError):  # if memory runs out, the system ends this process and not the parent
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the caller's picture
        n_pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, n_pages * resource.getpagesize() + limits.memory_bytes)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _limit_item(limits: ChildLimits) -> None:
    """Have the kernel end this process when the time is up, whatever the decoder is doing."""
    _limit_cpu(limits.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s + ORPHAN_S)


def _limit_pixels(n_px: int, n_bytes: int) -> None:
    _limit_cpu(DECODE_S + S_PER_PX * n_px + S_PER_BYTE * n_bytes)


def _limit_cpu(seconds: float) -> None:
    """Allow this many seconds from now on, instead of what was left."""
    with suppress(OSError, ValueError):
        _lower(resource.RLIMIT_CPU, ceil(time.process_time() + seconds))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
