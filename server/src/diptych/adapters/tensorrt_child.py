"""Have engines built by a process beside this one. Knows nothing of engines."""

import asyncio
import json
import os
import sys

from diptych.adapters.tensorrt_build import EngineJob
from diptych.errors import BundleError

MODULE = "diptych.adapters.tensorrt_build"
# The builder has no other switch for products of 10 bits, which are no float32.
ENVIRONMENT = {"NVIDIA_TF32_OVERRIDE": "0"}
MAX_TOLD = 500  # characters of what it said last


async def build_in_child(job: EngineJob, module: str = MODULE) -> None:
    """Wait until it is done; it is killed when the waiting is cancelled, and when this process ends.

    Raises BundleError with what it said, or how it ended.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # or the folder that it is started in comes first among those that modules are taken from
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
    )
    try:
        out, err = await child.communicate(job.to_json().encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    error = _error(out)
    if error is not None:
        raise BundleError(error)
    if child.returncode:
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise BundleError(f"the builder ended with {how}: {_last_line(err)[:MAX_TOLD] or 'it said nothing'}")


def _error(out: bytes) -> str | None:
    """What it reported as its last line."""
    try:
        told = json.loads(_last_line(out))["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return None if told is None else str(told)


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
