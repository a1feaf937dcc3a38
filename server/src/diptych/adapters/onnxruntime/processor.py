"""Describes this machine's processor: what execution plans depend on, and how it multiplies 8-bit numbers."""

import hashlib
import math
import os
import platform
from pathlib import Path

import onnxruntime as ort

CPU_INFO = Path("/proc/cpuinfo")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# The fields of /proc/cpuinfo, on x86 and on ARM, that do not change from start to start.
CPU_FIELDS = frozenset(
    {
        *("vendor_id", "cpu family", "model", "model name", "cache size", "flags"),
        *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
    }
)
_X86 = frozenset({"x86_64", "amd64", "i686"})


def machine(n_threads: int) -> str:
    """The processor, the number of threads and the runtime: what a plan depends on besides the model."""
    return f"{_processor()}, {n_threads} threads, onnxruntime {ort.__version__}"


def n_cpus() -> int:
    """The processors that this process may use: its affinity and its container's quota, rounded up."""
    n_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return max(1, min(n_allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one without a quota
        return n_allowed


def may_saturate(cpu_info: Path = CPU_INFO, machine: str | None = None) -> bool:
    """Whether sums of products of uint8 and int8 may silently saturate at 16 bits.

    x86 before VNNI does so: it adds two neighbouring products in 16 bits. An x86 whose features cannot be
    read is assumed to.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return False
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return True
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not any(flag.endswith("_vnni") for flag in flags.split())


def _processor() -> str:
    """The architecture, the model name, and a digest of all fields.

    The digest is needed because virtual processors of many generations share one name, and ARM processors
    have none. Where processors of several kinds stand side by side, as in a phone, the first one counts.
    """
    try:
        first, _, _ = CPU_INFO.read_text().partition("\n\n")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    lines = [line.partition(":") for line in first.splitlines()]
    fields = [(name.strip(), value.strip()) for name, _, value in lines if name.strip() in CPU_FIELDS]
    name = next((value for name, value in fields if name == "model name"), "")
    return f"{platform.machine()} {name} {hashlib.sha256(repr(fields).encode()).hexdigest()}"
