"""Build the engines of two graphs: a program of its own, as that takes minutes and may end its process.

python -m diptych.adapters.tensorrt_build     # the job on stdin, what became of it as the last line of stdout
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from diptych.adapters.onnx_cuda import require_cuda
from diptych.adapters.onnx_session import open_session
from diptych.adapters.onnx_tensorrt import Options, require_tensorrt
from diptych.errors import DiptychError

NICE = 10  # requests go first on the CPU
PR_SET_PDEATHSIG = 1  # of prctl: the signal that a process gets when the one that started it ends


@dataclass(frozen=True)
class EngineJob:
    """Graphs, and for each the options of TensorRT's provider, which name the folder to build into."""

    towers: tuple[tuple[str, Options], ...]  # file, options

    def to_json(self) -> str:
        """For the child."""
        return json.dumps(asdict(self) | {"parent": os.getpid()})


def build(job: EngineJob) -> None:
    """A session with explicit profiles builds its engine as it is made, and writes it down. Blocking.

    Raises BundleError, ConfigError.
    """
    require_cuda()
    require_tensorrt()
    for file, options in job.towers:
        open_session(Path(file), n_threads=1, device="tensorrt", tensorrt=options)


def main() -> int:
    """0 when all were built."""
    given = json.loads(sys.stdin.read())
    _end_with(given["parent"])
    os.nice(NICE)
    try:
        build(EngineJob(tuple((file, options) for file, options in given["towers"])))
    except DiptychError as error:
        _report(str(error))
        return 1
    _report(None)
    return 0


def _report(error: str | None) -> None:
    sys.stdout.write(json.dumps({"error": error}) + "\n")
    sys.stdout.flush()


def _end_with(parent: int) -> None:
    """Let no build go on whose server has ended, however that was; where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
