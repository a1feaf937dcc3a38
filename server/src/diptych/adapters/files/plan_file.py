"""Keep what was measured in a file, so that only the first start on a machine measures. Measures nothing."""

import hashlib
import json
import logging
import math
import os
import platform
from pathlib import Path
from typing import Any, TypeVar

import onnxruntime as ort
from pydantic import TypeAdapter

from diptych.adapters.files.private_files import make_new, narrow
from diptych.adapters.onnxruntime.int8_instructions import CPU_INFO
from diptych.durable import write_durably

Measured = TypeVar("Measured")

LOG = logging.getLogger("diptych.plan")
# Of /proc/cpuinfo, on x86 and on ARM: what does not change from start to start.
CPU_FIELDS = frozenset(
    {
        *("vendor_id", "cpu family", "model", "model name", "cache size", "flags"),
        *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
    }
)
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class PlanFile:
    """Measurements by what they are for. A file that cannot be read or written is as good as none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        narrow(file)

    def get(self, key: str, kind: type[Measured]) -> Measured | None:
        """The measurement of an earlier start; None where there is none, or it is no `kind`."""
        try:
            return TypeAdapter(kind).validate_python(self._read()[key])
        except (KeyError, ValueError):
            return None

    def put(self, key: str, measured: object) -> None:
        """Keep it for the next start."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = TypeAdapter(dict[str, Any]).dump_json({**self._read(), key: measured}, indent=1)
            unfinished = self._file.with_suffix(".tmp")
            make_new(unfinished)
            write_durably(unfinished, content)
            unfinished.replace(self._file)
        except OSError as error:
            LOG.warning("what was measured is not kept: %s", error.strerror)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):  # the last one: of thousands of open brackets
            return {}
        return known if isinstance(known, dict) else {}


def machine(n_threads: int) -> str:
    """What a plan depends on beside the model: processor, threads and runtime."""
    return f"{_processor()}, {n_threads} threads, onnxruntime {ort.__version__}"


def n_cpus() -> int:
    """Processors that this process may use: its affinity, and the quota of its container, rounded up."""
    n_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return max(1, min(n_allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one without a quota
        return n_allowed


def _processor() -> str:
    """Its name, kind, and what it can do: virtual ones of many generations have one name, ARM's have none.

    One that other processors stand beside, as in a phone, is told by the first.
    """
    try:
        first, _, _ = CPU_INFO.read_text().partition("\n\n")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = [line.partition(":") for line in first.splitlines()]
    told = [(name.strip(), value.strip()) for name, _, value in lines if name.strip() in CPU_FIELDS]
    name = next((value for name, value in told if name == "model name"), "")
    return f"{platform.machine()} {name} {hashlib.sha256(repr(told).encode()).hexdigest()}"
