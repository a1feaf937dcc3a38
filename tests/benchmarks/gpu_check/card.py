"""Which card, driver and releases a run was made on. Asks programs and packages; computes nothing."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

ASKED = "name,driver_version,memory.total,compute_cap,power.limit,clocks.max.sm"
PACKAGES = (
    "torch", "triton", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-cu13-libs", "faiss-gpu",
    "faiss-cpu", "open_clip_torch", "onnx", "numpy",
)  # fmt: skip
WITHIN_S = 20


def card() -> dict[str, str]:
    """What nvidia-smi says of the first card; empty where there is none or no such program."""
    found = _ask(ASKED)
    return dict(zip(ASKED.split(","), found, strict=True)) if found else {}


def used_mb() -> float | None:
    """Memory of the first card that is taken by all processes together, MiB; None where nobody tells."""
    found = _ask("memory.used")
    try:
        return float(found[0].split()[0])
    except (IndexError, ValueError):  # "[N/A]", as of some shares of a card
        return None


def releases() -> dict[str, str]:
    """Of Python and the packages that matter; those that are missing are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _ask(fields: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.splitlines()
    return [field.strip() for field in lines[0].split(",")] if done.returncode == 0 and lines else []
