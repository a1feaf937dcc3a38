"""Named steps before and after which a test of durability can have this process killed.

With `DIPTYCH_TEST_KILL_AT=commit.after:3` in its environment, a server sends itself SIGKILL after its third
commit. No flag, setting or request does that. Without the variable a step costs the check of an empty dict.
"""

import os
import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Literal, get_args

from diptych.errors import ConfigError

VARIABLE = "DIPTYCH_TEST_KILL_AT"
# In the order of a write. Migrations have commits of their own.
Step = Literal[
    "file_fsync",
    "file_rename",
    "folder_fsync",
    "migration_commit",
    "commit",
    "job_commit",  # of rows together with the outcomes of a job
    "file_remove",
    "answer",
    "input_fsync",  # this and the next three: of the input of a job
    "input_rename",
    "input_folder_fsync",
    "input_remove",
]
# In the order of a rollout.
RolloutStep = Literal[
    "rollout_load",  # of the version
    "rollout_commit",  # of a new state
    "bundle_rename",  # of the copy that the data folder keeps
    "embed_commit",  # of vectors of images that were stored before
    "switch_commit",
    "forget_commit",  # of vectors that nothing needs any more
    "bundle_remove",
]
# Of writing the files of an index.
IndexStep = Literal["index_write", "index_rows_fsync", "index_fsync", "index_rename", "index_remove"]


def _points(steps: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{step}.{side}" for step in steps for side in ("before", "after"))


POINTS, ROLLOUT_POINTS = _points(get_args(Step)), _points(get_args(RolloutStep))
INDEX_POINTS = _points(get_args(IndexStep))
_ALL_POINTS = POINTS + ROLLOUT_POINTS + INDEX_POINTS

_remaining: dict[str, int] = {}  # point -> how often it is reached until the process ends; empty unless armed
_lock = threading.Lock()
_NOTHING = nullcontext()


def arm(spec: str | None) -> None:
    """Have the process killed when it reaches POINT for the Nth time; `spec` is `POINT:N`.

    Raises ConfigError.
    """
    if not spec:
        return
    point, _, count = spec.partition(":")
    if point not in _ALL_POINTS or not count.isdecimal() or int(count) < 1:
        raise ConfigError(
            f"{VARIABLE}: {spec!r} is not POINT:N, where POINT is one of {', '.join(_ALL_POINTS)}"
        )
    _remaining[point] = int(count)


def reach(point: str) -> None:
    """Mark that the process has reached this point, which may kill it."""
    if _remaining:
        _count(point)


def around(step: Step | RolloutStep | IndexStep) -> AbstractContextManager[object]:
    """Reach the point before the block, and the point after it unless the block raises."""
    return _Around(step) if _remaining else _NOTHING


class _Around:
    def __init__(self, step: Step | RolloutStep | IndexStep) -> None:
        self._step = step

    def __enter__(self) -> None:
        reach(f"{self._step}.before")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            reach(f"{self._step}.after")


def _count(point: str) -> None:
    assert point in _ALL_POINTS, f"there is no point {point}"
    with _lock:
        if point not in _remaining:
            return
        _remaining[point] -= 1
        if _remaining[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
