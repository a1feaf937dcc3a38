"""Which machine and which releases a run was made on."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.serving.places import REPOSITORY

TOLD_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
DOCUMENTS = ("*.md", "server/figures", "training/figures")
N_DIGITS = 8
TOLD_PACKAGES = ("onnxruntime", "torch", "transformers", "numpy", "pillow", "fastapi", "uvicorn", "uvloop")


def machine(n_cores: int | None = None) -> str:
    """Processor, cores (those of the affinity, if not told) and what matters to matrix products."""
    fields = _cpu_fields()
    flags = set(fields.get("flags", "").split())
    known = ", ".join(flag for flag in TOLD_FLAGS if flag in flags) or "none of those asked for"
    name = fields.get("model name", platform.processor() or "unknown processor")
    n_cores = n_cores or len(os.sched_getaffinity(0))
    return f"{name}, {n_cores} cores; {known}; {platform.system()} {platform.machine()}"


def versions() -> str:
    """Of Python and the packages in this environment."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{n} {_version(n)}" for n in TOLD_PACKAGES)])


def commit() -> str:
    """Of this repository; with `+` and a hash of what was changed since in files that git knows.

    Documents and the figures in them do not count: a run that writes its table is still of its commit.
    """
    try:
        name = _git("rev-parse", "--short", "HEAD")
        changes = _git("diff", "HEAD", "--", ".", *(f":(exclude){path}" for path in DOCUMENTS))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+{hashlib.sha256(changes.encode()).hexdigest()[:N_DIGITS]}" if changes else name


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.strip()


def _cpu_fields() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except FileNotFoundError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
