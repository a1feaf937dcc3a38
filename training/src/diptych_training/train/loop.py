"""The training loop: step, log, validate, save checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from diptych_training.checkpoint import Checkpoint, write_atomic, write_checkpoint
from diptych_training.config import TrainConfig
from diptych_training.models.clip import CLIP
from diptych_training.objectives.predictive import PredictiveModel, TrainedModel
from diptych_training.progress import progress_bar
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.batch import Batches
from diptych_training.train.distributed.interrupt import Interrupt
from diptych_training.train.distributed.ranks import rank_loss_as_error
from diptych_training.train.metrics_log import Log, draw_curves, read_metrics
from diptych_training.train.objective import objective_of
from diptych_training.train.optim import learning_rate
from diptych_training.train.state import TrainState
from diptych_training.train.step import (
    GradientStep,
    Losses,
    PredictiveStep,
    autocast,
    copy_buffers,
    restore_buffers,
)
from diptych_training.train.teachers import Teachers

TIMED_STEPS, TIMED_PART = 50, 12  # time is measured over so many steps, at most over this part of them
DEVICE_STREAM = 6  # part of the seed, distinct from those of batches and objectives
RESUME_ADVICE = "start all of them again with --resume"

Validate = Callable[[TrainedModel], dict[str, float]]
TimeLeft = Callable[[int, float], str]  # steps done, seconds they took -> a line about those that remain


@dataclass(frozen=True)
class _Timer:
    """The start of a measured interval. A single step's time says nothing, since the device may lag
    behind.
    """

    step: int
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Loop:
    """One run and what it needs; `train` continues from the step of `state`."""

    config: TrainConfig
    folder: RunFolder
    state: TrainState
    batches: Batches
    validate: Validate
    log: Log
    teachers: Teachers | None = None

    @property
    def gradient_step(self) -> GradientStep | PredictiveStep:
        """The forward and backward pass of this run."""
        state, run, chunk_size = self.state, self.config.run, self.config.scale.chunk_size
        if isinstance(state.model, PredictiveModel):
            return PredictiveStep(state.model, state.towers, run.precision, chunk_size, state.ranks)
        return GradientStep(
            state.model,
            state.towers,
            objective=objective_of(self.config),
            precision=run.precision,
            chunk_size=chunk_size,
            ranks=state.ranks,
            teachers=self.teachers,
        )

    def train(self, time_left: TimeLeft | None = None, until: int | None = None) -> bool:
        """Train to the end, to step `until`, or until SIGINT or SIGTERM. Returns whether that step was
        reached.

        `time_left` is called once, after the first steps, when the speed of the machine is stable. Raises
        TrainingFailed if loss or gradients stay non-finite, RankLost if another rank is gone.
        """
        with rank_loss_as_error(self.state.ranks, lambda: f"step {self.state.step}", RESUME_ADVICE):
            return self._train(time_left, min(self.config.run.steps, until or self.config.run.steps))

    def _train(self, time_left: TimeLeft | None, n_steps: int) -> bool:
        ranks = self.state.ranks
        first, n_timed = self.state.step, self._n_timed(n_steps)
        bar = progress_bar(total=n_steps, initial=first, unit="step", disable=not ranks.is_first)
        with Interrupt() as interrupt, bar as progress:

            def report(line: str) -> None:
                if ranks.is_first:
                    progress.write(line)

            if self.config.start is not None and first == 0:
                self._validate(report)  # the baseline, and the best so far
            timer, started = _Timer(first), time.perf_counter()
            while self.state.step < n_steps and not self._is_stopped(interrupt):
                losses, norm = self._step()
                progress.update()
                if self._is_logged():
                    timer = self._log_step(losses, norm, timer)
                    progress.set_postfix(loss=f"{float(losses['loss']):.3f}", refresh=False)
                if self._after_step(report):
                    timer = _Timer(self.state.step)
                if time_left is not None and self.state.step - first == n_timed:
                    report(time_left(n_timed, time.perf_counter() - started))
                    timer = _Timer(self.state.step)
        self._save_checkpoint()
        return self.state.step >= n_steps

    def _n_timed(self, n_steps: int) -> int:
        """Over how many steps the time is measured: few of a short run."""
        return max(1, min(TIMED_STEPS, (n_steps - self.state.step) // TIMED_PART))

    def _step(self) -> tuple[Losses, Tensor]:
        """Queue the next step on the device. Its losses and gradient norm stay there."""
        state = self.state
        buffers = copy_buffers(state.model)
        # What a step draws on the device does not depend on whether the run was broken off before it.
        torch.manual_seed(_seed_of(self.config.seed, state.step, state.ranks.rank))
        losses = self.gradient_step.forward_backward(self.batches.make(state.step))
        norm = state.stepper.apply(state.step, losses["loss"])
        is_kept = norm.isfinite()
        restore_buffers(state.model, buffers, unless=is_kept)
        if state.ema is not None:
            state.ema.update(state.model, state.step, is_kept)
        state.step += 1
        return losses, norm

    def _is_stopped(self, interrupt: Interrupt) -> bool:
        """Whether a signal arrived. Ranks agree through their devices, so on GPUs only when metrics are
        logged.
        """
        ranks = self.state.ranks
        is_checked = ranks.is_single or ranks.device.type == "cpu" or self._is_logged()
        return is_checked and ranks.any(interrupt.requested)

    def _is_logged(self) -> bool:
        return self.state.step % self.config.run.log_every == 0 or self.state.step == self.config.run.steps

    def _log_step(self, losses: Losses, norm: Tensor, timer: "_Timer") -> "_Timer":
        """Wait for the device and log the last step. Raises TrainingFailed if too many steps were skipped."""
        read = {name: float(value) for name, value in {**losses, "gradient_norm": norm}.items()}
        step, seconds = self.state.step, time.perf_counter() - timer.started
        self.log.write(step, self._numbers(read, (step - timer.step) / seconds))
        self.state.stepper.check(step - 1)
        return _Timer(step)

    def _numbers(self, read: dict[str, float], steps_per_s: float) -> dict[str, float]:
        state, run = self.state, self.config.run
        return {
            **read,
            "learning_rate": learning_rate(state.step - 1, run.steps, self.config.optim),
            **(_learned_scalars(state.model) if isinstance(state.model, CLIP) else {}),
            "skipped_steps": float(state.stepper.n_skipped),
            "images_per_s": run.batch_size * steps_per_s,
            **self.batches.numbers(),
        }

    def _after_step(self, report: Callable[[str], None]) -> bool:
        """Validate and save a checkpoint when due. Returns whether either was done."""
        step, run = self.state.step, self.config.run
        is_validated = step % run.validate_every == 0 or step == run.steps
        if is_validated:
            self._validate(report)
        if step % run.checkpoint_every == 0:
            self.state.stepper.check(step - 1)
            self._save_checkpoint()
        return is_validated or step % run.checkpoint_every == 0

    def _validate(self, report: Callable[[str], None]) -> None:
        """Validate, save the weights if they are the best so far, and plot; report what was measured."""
        state = self.state
        with autocast(state.ranks.device, self.config.run.precision):
            metrics = self.validate(state.validated_model)
        # The first rank decides: scores that differ in the last bit must not make ranks disagree.
        scores = [metrics[name] for name in self.config.run.best_by]
        # Without scores the latest weights are the best.
        score = state.ranks.value_of_first(fmean(scores) if scores else state.step)
        self.log.write(state.step, {f"validation/{name}": value for name, value in metrics.items()})
        is_best = score > state.best_score
        if is_best:
            state.best_score = score
            self._write(self.folder.best, state.best_checkpoint(metrics))
        if state.ranks.is_first:
            title = f"{self.config.name}, step {state.step}"
            write_atomic(self.folder.curves_file, draw_curves(read_metrics(self.folder.metrics_file), title))
        if metrics:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            report(f"step {state.step}: {numbers}{'  (best so far)' if is_best and scores else ''}")

    def _save_checkpoint(self) -> None:
        self._write(self.folder.last, self.state.checkpoint(self.batches.position(self.state.step)))

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        if self.state.ranks.is_first:
            write_checkpoint(path, checkpoint)


def _seed_of(seed: int, step: int, rank: int) -> int:
    return (
        int(np.random.SeedSequence((seed, DEVICE_STREAM, step, rank)).generate_state(1, np.uint64)[0]) % 2**63
    )


def _learned_scalars(model: CLIP) -> dict[str, float]:
    """The learned scale and bias of the cosines."""
    bias = {} if model.logit_bias is None else {"logit_bias": model.logit_bias.item()}
    return {"logit_scale": math.exp(model.logit_scale.item()), **bias}
