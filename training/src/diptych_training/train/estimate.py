"""Estimate of a run's time and memory, measured before its first step without changing the run."""

import math
import resource
import sys
import time
from dataclasses import dataclass
from statistics import median

import torch

from diptych_training.config import TrainConfig
from diptych_training.train.batches.batch import Batches
from diptych_training.train.distributed.parallel import local_shard
from diptych_training.train.flops import training_flops
from diptych_training.train.step import GradientStep, PredictiveStep, RngState, copy_buffers, restore_buffers

N_TRIALS = 3  # after one to warm up
MIB = 2**20


@dataclass(frozen=True)
class Estimate:
    """The cost of the rest of a run."""

    n_image_parameters: int
    n_text_parameters: int
    n_small: int  # steps on small images; they come first
    n_full: int
    small_s: float  # seconds per step
    full_s: float
    batch_size: int
    peak_bytes: int
    flops_per_image: float
    other_part: str = "text"  # what learns in addition to the image tower

    def __str__(self) -> str:
        total = (self.n_image_parameters + self.n_text_parameters) / 1e6
        return (
            f"{total:.2f} M parameters ({self.n_image_parameters / 1e6:.2f} image, "
            f"{self.n_text_parameters / 1e6:.2f} {self.other_part}); "
            f"{self.flops_per_image / 1e9:.3g} GFLOPs an image; "
            f"{self.batch_size / self.full_s:.0f} images/s at full size; "
            f"about {self._seconds(0) / 60:.1f} min for {self.n_small + self.n_full} steps, "
            f"validation not counted; about {self.peak_bytes / MIB:.0f} MiB of memory"
        )

    def seconds_left(self, n_done: int, took_s: float) -> float:
        """Seconds for the steps after the first `n_done`, given that those took `took_s`."""
        return self._seconds(n_done) * took_s / (self._seconds(0) - self._seconds(n_done))

    def _seconds(self, n_done: int) -> float:
        n_small = max(0, self.n_small - n_done)
        n_full = self.n_full - max(0, n_done - self.n_small)
        return n_small * self.small_s + n_full * self.full_s


def estimate(
    gradient_step: GradientStep | PredictiveStep, batches: Batches, config: TrainConfig, first_step: int
) -> Estimate:
    """Run a few forward and backward passes and undo their effects; small images are measured too if the run
    uses them.
    """
    run, model = config.run, gradient_step.model
    n_small = max(0, math.ceil(run.start_fraction * run.steps) - first_step) if run.start_size else 0
    n_full = run.steps - first_step - n_small
    buffers, drawn = copy_buffers(model), RngState.now(gradient_step.ranks.device)
    small_s = _step_seconds(gradient_step, batches, first_step) if n_small else 0.0
    full_s = _step_seconds(gradient_step, batches, run.steps)
    restore_buffers(model, buffers)
    drawn.restore()
    n_image = sum(parameter.numel() for parameter in model.visual.parameters())
    n_all = sum(parameter.numel() for parameter in model.parameters())
    n_learned = sum(local_shard(p).numel() for p in model.parameters() if p.requires_grad)
    return Estimate(
        n_image_parameters=n_image,
        n_text_parameters=n_all - n_image,
        n_small=n_small,
        n_full=n_full,
        small_s=small_s,
        full_s=full_s,
        batch_size=run.batch_size,
        peak_bytes=_peak_bytes() + 2 * 4 * n_learned,  # plus the optimizer's two moments, not allocated yet
        flops_per_image=training_flops(config),
        other_part="text" if config.predictive is None else "objective",
    )


def _step_seconds(gradient_step: GradientStep | PredictiveStep, batches: Batches, step: int) -> float:
    """The median of a few trials, after one warm-up."""
    seconds = []
    for _ in range(1 + N_TRIALS):
        started = time.perf_counter()
        gradient_step.forward_backward(batches.make(step))
        if gradient_step.ranks.device.type == "cuda":
            torch.cuda.synchronize(gradient_step.ranks.device)
        seconds.append(time.perf_counter() - started)
        gradient_step.model.zero_grad()
    return median(seconds[1:])


def _peak_bytes() -> int:
    """Largest resident size of this process so far: kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
