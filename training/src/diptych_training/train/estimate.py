"""What a run will cost in time and memory, measured before its first step; changes nothing of it."""

import copy
import math
import resource
import sys
import time
from dataclasses import dataclass

from diptych_training.config import TrainConfig
from diptych_training.models.clip import CLIP
from diptych_training.train.batches import BatchMaker
from diptych_training.train.step import forward_backward

N_TRIALS = 3
MIB = 2**20


@dataclass(frozen=True)
class Estimate:
    """Cost of the rest of a run."""

    n_image_parameters: int
    n_text_parameters: int
    seconds: float
    images_per_s: float  # at the full image size
    peak_bytes: int
    n_steps: int

    def __str__(self) -> str:
        total = (self.n_image_parameters + self.n_text_parameters) / 1e6
        return (
            f"{total:.2f} M parameters ({self.n_image_parameters / 1e6:.2f} image, "
            f"{self.n_text_parameters / 1e6:.2f} text); {self.images_per_s:.0f} images/s at full size; "
            f"about {self.seconds / 60:.1f} min for {self.n_steps} steps, validation not counted; "
            f"about {self.peak_bytes / MIB:.0f} MiB of memory"
        )


def estimate(model: CLIP, batches: BatchMaker, config: TrainConfig, first_step: int) -> Estimate:
    """Run a few steps on a copy of the model, with small images too where the run starts with them."""
    trial = copy.deepcopy(model)
    run = config.run
    n_small = max(0, math.ceil(run.start_fraction * run.steps) - first_step) if run.start_size else 0
    n_full = run.steps - first_step - n_small
    small_s = _step_seconds(trial, batches, first_step, run.precision) if n_small else 0.0
    full_s = _step_seconds(trial, batches, run.steps, run.precision)
    n_image = sum(parameter.numel() for parameter in model.visual.parameters())
    n_all = sum(parameter.numel() for parameter in model.parameters())
    return Estimate(
        n_image_parameters=n_image,
        n_text_parameters=n_all - n_image,
        seconds=n_small * small_s + n_full * full_s,
        images_per_s=run.batch_size / full_s,
        peak_bytes=_peak_bytes() + 2 * 4 * n_all,  # the optimizer's two moments are not there yet
        n_steps=n_small + n_full,
    )


def _step_seconds(trial: CLIP, batches: BatchMaker, step: int, precision: str) -> float:
    """The best of a few trials: the first ones warm up."""
    best_s = math.inf
    for _ in range(N_TRIALS):
        started = time.perf_counter()
        forward_backward(trial, batches.make(step), precision)
        best_s = min(best_s, time.perf_counter() - started)
        trial.zero_grad()
    return best_s


def _peak_bytes() -> int:
    """Largest resident size of this process so far: kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
