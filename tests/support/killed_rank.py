"""`diptych-train` in one of several processes, of which the second kills itself; knows nothing of tests.

python -m support.killed_rank STEP ARGUMENTS...     in a process that torchrun's variables describe
"""

import os
import signal
import sys

from diptych_training.cli import main
from diptych_training.train.batches import Batch, BatchMaker

DOOMED = "1"


def doom(last_step: int) -> None:
    """Take this process down, without cleaning up, when it is about to make the batch of a step."""
    make = BatchMaker.make

    def make_or_die(self: BatchMaker, step: int) -> Batch:
        if step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(self, step)

    BatchMaker.make = make_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ["RANK"] == DOOMED and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        doom(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
