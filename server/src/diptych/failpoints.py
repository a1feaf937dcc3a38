"""Named steps before and after which a test may have this process killed; knows nothing of what they do.

Only for tests of durability: with `DIPTYCH_TEST_KILL_AT=commit.after:3` a server kills itself, by SIGKILL,
when it has made its third commit. No flag, setting or request does that. Unset it costs a look at an empty
dict.
"""

import os
import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Literal, get_args

from diptych.errors import ConfigError

VARIABLE = "DIPTYCH_TEST_KILL_AT"
# In the order of a write; migrations commit on their own.
Step = Literal[
    "file_fsync",
    "file_rename",
    "folder_fsync",
    "migration_commit",
    "commit",
    "job_commit",  # of rows with what a job hears of them
    "file_remove",
    "answer",
    "input_fsync",  # the four of what jobs are given
    "input_rename",
    "input_folder_fsync",
    "input_remove",
]
POINTS = tuple(f"{step}.{side}" for step in get_args(Step) for side in ("before", "after"))

_to_pass: dict[str, int] = {}  # point -> how many times it is reached until the end; empty unless armed
_lock = threading.Lock()
_NOTHING = nullcontext()


def arm(spec: str | None) -> None:
    """`POINT:N` ends the process when it reaches the point for the N-th time. Raises ConfigError."""
    if not spec:
        return
    point, _, count = spec.partition(":")
    if point not in POINTS or not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"{VARIABLE}: {spec!r} is not POINT:N with a point of {', '.join(POINTS)}")
    _to_pass[point] = int(count)


def reach(point: str) -> None:
    """The process is at this point; it may be its last."""
    if _to_pass:
        _count(point)


def around(step: Step) -> AbstractContextManager[object]:
    """Reaches the point before the block, and unless that raises the one after it."""
    return _Around(step) if _to_pass else _NOTHING


class _Around:
    def __init__(self, step: Step) -> None:
        self._step = step

    def __enter__(self) -> None:
        reach(f"{self._step}.before")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            reach(f"{self._step}.after")


def _count(point: str) -> None:
    assert point in POINTS, f"{point} has no name"
    with _lock:
        if point not in _to_pass:
            return
        _to_pass[point] -= 1
        if _to_pass[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
