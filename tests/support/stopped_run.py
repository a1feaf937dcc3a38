"""A run that gets SIGTERM during one of its steps."""

import os
import signal
from dataclasses import replace
from typing import Any

from diptych_training.train.loop import Loop


class _Stopping:
    def __init__(self, batches: Any, last_step: int) -> None:
        self._batches, self._last_step = batches, last_step

    def make(self, step: int) -> Any:
        if step == self._last_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._batches.make(step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)


def stopped_after(loop: Loop, n_steps: int) -> Loop:
    """Return the loop so that it stops after this number of steps."""
    return replace(loop, batches=_Stopping(loop.batches, n_steps - 1))
