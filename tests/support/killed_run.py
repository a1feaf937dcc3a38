"""A training process that kills itself with SIGKILL once it has logged a step.

python -m support.killed_run RECIPE DATA RUN_DIR STEP THREADS
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from diptych_training.config import read_config
from diptych_training.data.packed import read_dataset
from diptych_training.train.metrics_log import MetricsLog
from diptych_training.train.train_run import prepare


@dataclass(frozen=True)
class DeadlyLog:
    """Logs as a run does, and kills the process after the metrics of one step."""

    log: MetricsLog
    last_step: int

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log, then kill the process without cleaning up or flushing."""
        self.log.write(step, values)
        if step == self.last_step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(recipe: str, data: str, run_dir: str, step: str, n_threads: str) -> None:
    """Train until the step."""
    torch.set_num_threads(int(n_threads))
    loop = prepare(read_config(Path(recipe)), read_dataset(Path(data)), Path(run_dir), resume=False)
    replace(
        loop,
        log=DeadlyLog(loop.log, int(step)),
        validate=lambda model: {"emoji_top1": 0.1, "icons_top1": 0.2},
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
