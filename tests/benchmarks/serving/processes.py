"""Processor time and memory of a process with all its descendants, from /proc; stops none of them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_TIMES = slice(11, 15)  # behind the name of the command: utime, stime, cutime, cstime


@dataclass(frozen=True)
class Memory:
    """Resident bytes in use now, and the highest since the processes began (their peaks added)."""

    resident: int
    peak: int


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants; none when it is gone."""
    yield pid
    for thread in _children_files(pid):
        for child in thread.split():
            yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Processor seconds of the tree so far, those of children that ended included."""
    return sum(_cpu_ticks(one) for one in tree(pid)) / _TICKS_PER_S


def first_thread_seconds(pid: int) -> float:
    """Processor seconds so far of the thread that the process began with: in our server the event loop's."""
    return _ticks(_PROC / str(pid) / "task" / str(pid) / "stat") / _TICKS_PER_S


def memory(pid: int) -> Memory:
    """Shared pages count once for each process: an upper bound where there are several."""
    found = [_status(one) for one in tree(pid)]
    return Memory(sum(one.get("VmRSS", 0) for one in found), sum(one.get("VmHWM", 0) for one in found))


def _children_files(pid: int) -> list[str]:
    files = (_PROC / str(pid) / "task").glob("*/children")
    return [text for file in files if (text := _read(file))]


def _cpu_ticks(pid: int) -> int:
    return _ticks(_PROC / str(pid) / "stat")


def _ticks(file: Path) -> int:
    fields = _read(file).rpartition(")")[2].split()
    return sum(map(int, fields[_TIMES]))


def _status(pid: int) -> dict[str, int]:
    """The sizes of /proc/<pid>/status, in bytes."""
    lines = (line.split() for line in _read(_PROC / str(pid) / "status").splitlines())
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[-1] == "kB"}


def _read(file: Path) -> str:
    """Empty when the process ended meanwhile."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
