"""Builds plans in a child process, because that takes minutes and may crash the process.

python -m diptych.adapters.tensorrt.build     # reads jobs from stdin; a failure is the last line of stderr
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from diptych.adapters.tensorrt.plan import build_plan
from diptych.bundle.tensorrt_build import Profile
from diptych.durable import fsync_file, fsync_folder
from diptych.errors import BundleError, DiptychError

REVISION = 1  # of the build settings: plans of an earlier revision are built again
NICE = 10  # requests have priority on the CPU
PR_SET_PDEATHSIG = 1  # prctl option: the signal that a process receives when its parent ends
# of GPU memory: without a limit the builder may take all that the server leaves free
MAX_WORKSPACE_BYTES = 1 << 30
BUILD_FAILED = 3  # exit code of a child that could not build and printed the reason
MAX_REASON_CHARS = 500  # of the last line that the child printed
MODULE = "diptych.adapters.tensorrt.build"


class PlanJob(BaseModel):
    """A plan to build: from this graph, for these shapes, into this file."""

    graph: Path
    target: Path
    profiles: list[Profile]


_JOBS = TypeAdapter(list[PlanJob])


async def build_in_child(jobs: Sequence[PlanJob], module: str = MODULE) -> None:
    """Build plans in a child process, which is killed if the call is cancelled or this process ends.

    Raises BundleError with the child's message, or the way that it ended.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # without it modules are first searched in the working directory
        "-m",
        module,
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await child.communicate(_JOBS.dump_json(list(jobs)))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2][:MAX_REASON_CHARS]
        if child.returncode == BUILD_FAILED:
            raise BundleError(reason)
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise BundleError(f"the builder ended with {how}: {reason or 'it printed nothing'}")


def build(jobs: Sequence[PlanJob]) -> None:
    """Build plans; each file appears whole or not at all. Blocking. Raises BundleError, ConfigError."""
    for job in jobs:
        draft = job.target.with_suffix(f".{os.getpid()}.tmp")
        try:
            build_plan(job.graph, draft, job.profiles, workspace_bytes=MAX_WORKSPACE_BYTES)
            fsync_file(draft)
            draft.replace(job.target)
        finally:
            draft.unlink(missing_ok=True)
        fsync_folder(job.target.parent)


def main(parent: int) -> int:
    """Build the jobs from stdin. Return 0 if all were built."""
    if sys.platform == "linux":  # end the build when the server ends, for whatever reason
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent has already ended
        return 1
    os.nice(NICE)
    try:
        build(_JOBS.validate_json(sys.stdin.buffer.read()))
    except DiptychError as error:
        sys.stderr.write(f"{error}\n")
        return BUILD_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
