"""Say how this processor multiplies 8-bit numbers, from what Linux tells of it."""

import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
_X86 = frozenset({"x86_64", "amd64", "i686"})


def may_saturate(cpu_info: Path = CPU_INFO, machine: str | None = None) -> bool:
    """Whether sums of products of uint8 and int8 may be cut off at 16 bits, in silence.

    x86 did so before VNNI: it adds two neighbouring products in 16 bits. An x86 that does not say what it can
    do is taken for such a processor.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return False
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return True
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not any(flag.endswith("_vnni") for flag in flags.split())
