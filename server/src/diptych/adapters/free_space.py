"""The free disk and memory of this machine, as far as this process may use them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from diptych.adapters.files.quota import Quota
from diptych.errors import Conflict, StoreFull

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class MachineFreeSpace:
    """Satisfies `diptych.core.rollout.ports.FreeSpace`."""

    def __init__(self, data_dir: Path, quota: Quota, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> None:
        self._data_dir = data_dir
        self._quota = quota
        self._proc = proc
        self._cgroups = cgroups

    def require(self, *, disk_bytes: int, memory_bytes: int) -> None:
        """Raises StoreFull for the disk or the quota, Conflict for the memory, unless there is room."""
        free = shutil.disk_usage(self._data_dir).free
        if disk_bytes > free:
            raise StoreFull(
                f"{_gb(disk_bytes)} are needed on the disk of the data folder, {_gb(free)} are free"
            )
        within_quota = self._quota.free_bytes
        if within_quota is not None and disk_bytes > within_quota:
            raise StoreFull(
                f"{_gb(disk_bytes)} are needed in the data folder, its limit leaves {_gb(within_quota)}"
                " (DIPTYCH_MAX_DATA_BYTES)"
            )
        available = available_memory(self._proc, self._cgroups)
        if available is not None and memory_bytes > available:
            raise Conflict(f"{_gb(memory_bytes)} of memory are needed, {_gb(available)} are free")


def available_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """The bytes of memory that this process can still take without swapping; None where that is unknown.

    The smallest of what the machine has available and what the limits of its control groups leave.
    """
    return min(_all_limits(proc, cgroups), default=None)


def _all_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    available = _field(proc / "meminfo", "MemAvailable:")
    if available is not None:
        yield 1024 * available
    for folder in _groups(proc, cgroups, ""):
        yield from _left(folder, "memory.max", "memory.current", "inactive_file")
    for folder in _groups(proc, cgroups / "memory", "memory"):
        yield from _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _groups(proc: Path, root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control group of this process and of those around it.

    In a container the path may be that of the host: then `root` itself is the folder.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            inner = root / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(root))
            return
    yield root


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """What a limit leaves; nothing without one. The kernel gives up cached files first."""
    try:
        left = int((folder / limit).read_text()) - int((folder / usage).read_text())
    except (OSError, ValueError):  # "max" means that there is none
        return
    yield max(0, left + (_field(folder / "memory.stat", reclaimable) or 0))


def _field(file: Path, name: str) -> int | None:
    """The number that follows a name in a file of the kernel."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(words[1]) for line in lines if (words := line.split())[:1] == [name]), None)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB"
