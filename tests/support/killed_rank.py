"""`diptych-train` in one of several processes, of which the second kills itself; knows nothing of tests.

python -m support.killed_rank STEP ARGUMENTS...     in a process that torchrun's variables describe
"""

import os
import signal
import sys
from typing import Any

from diptych_training.cli import main
from diptych_training.train.batches import Batch, BatchMaker
from diptych_training.train.stream_batches import StreamBatches

DOOMED = "1"


def doom(kind: type[BatchMaker] | type[StreamBatches], last_step: int) -> None:
    """Take this process down, without cleaning up, when it is about to make the batch of a step."""
    make = kind.make

    def make_or_die(self: Any, step: int) -> Batch:
        if step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(self, step)

    kind.make = make_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ["RANK"] == DOOMED and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        for kind in (BatchMaker, StreamBatches):
            doom(kind, int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
