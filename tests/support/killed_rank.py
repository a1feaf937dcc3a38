"""`diptych-train` in one of several processes, the second of which kills itself.

python -m support.killed_rank WHEN ARGUMENTS...     in a process with torchrun's environment variables

WHEN is the number of a step, or a name of STAGES, at which the process dies; or `sleep`: it hangs when it
should prepare its data.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from diptych_training.cli import main
from diptych_training.train import state, train_run
from diptych_training.train.batches.batch import Batch
from diptych_training.train.batches.packed import PackedBatches
from diptych_training.train.batches.streamed import StreamedBatches

DOOMED = "1"
STAGES: dict[str, list[tuple[Any, str]]] = {
    "data": [(train_run, "training_data")],
    "model": [(train_run, "new_state")],
    "wrap": [(state, "replicate"), (state, "shard")],
    "trial": [(train_run, "estimate")],
}


def die(*_: Any, **__: Any) -> None:
    """Kill this process without cleaning up or flushing."""
    os.kill(os.getpid(), signal.SIGKILL)


def never_answer(*_: Any, **__: Any) -> None:
    """Sleep for longer than anybody waits."""
    time.sleep(12)


def doom_stage(name: str) -> None:
    """Make this process die when it reaches the stage."""
    for module, function in STAGES["data" if name == "sleep" else name]:
        assert hasattr(module, function)
        setattr(module, function, never_answer if name == "sleep" else die)


def doom_step(last_step: int) -> None:
    """Make this process die before it makes the batch of a step."""

    def doomed(make: Callable[[Any, int], Batch]) -> Callable[[Any, int], Batch]:
        return lambda self, step: die() if step == last_step else make(self, step)  # type: ignore[return-value]

    for kind in (PackedBatches, StreamedBatches):
        kind.make = doomed(kind.make)  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    when = sys.argv[1]
    if os.environ["RANK"] == DOOMED and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        doom_step(int(when)) if when.isdecimal() else doom_stage(when)
    sys.exit(main(sys.argv[2:]))
