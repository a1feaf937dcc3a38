"""Build plans in a process of their own, since that takes minutes and may end its process.

python -m diptych.adapters.tensorrt.build     # the jobs on stdin; why it failed is the last line of stderr
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

REVISION = 1  # of how plans are built: those of an earlier one are built anew
NICE = 10  # requests go first on the CPU
PR_SET_PDEATHSIG = 1  # of prctl: the signal that a process gets when the one that started it ends
MAX_WORKSPACE_BYTES = 1 << 30  # of the GPU: the builder may else take all that what serves leaves free
SAID_WHY = 3  # exit code of a child that could not build, and said why
MAX_TOLD = 500  # characters of what the child said last
MODULE = "diptych.adapters.tensorrt.build"


class PlanJob(BaseModel):
    """One plan: of this graph, for these shapes, into this file."""

    graph: Path
    target: Path
    profiles: list[Profile]


_JOBS = TypeAdapter(list[PlanJob])


async def build_in_child(jobs: Sequence[PlanJob], module: str = MODULE) -> None:
    """Wait until all are built; the child is killed when the waiting is cancelled or this process ends.

    Raises BundleError with what it said, or how it ended.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # or the folder that it is started in comes first among those that modules are taken from
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
        said = errors.decode(errors="replace").strip().rpartition("\n")[2][:MAX_TOLD]
        if child.returncode == SAID_WHY:
            raise BundleError(said)
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise BundleError(f"the builder ended with {how}: {said or 'it said nothing'}")


def build(jobs: Sequence[PlanJob]) -> None:
    """Each file is there whole, or not at all. Blocking. Raises BundleError, ConfigError."""
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
    """0 when all were built."""
    if sys.platform == "linux":  # let no build go on whose server has ended, however that was
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        return 1
    os.nice(NICE)
    try:
        build(_JOBS.validate_json(sys.stdin.buffer.read()))
    except DiptychError as error:
        sys.stderr.write(f"{error}\n")
        return SAID_WHY
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
