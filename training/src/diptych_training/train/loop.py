"""The training loop: step, log, validate, keep; knows nothing of how a run folder was prepared."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from tqdm import tqdm

from diptych_training.checkpoint import write_atomic, write_checkpoint
from diptych_training.config import TrainConfig
from diptych_training.models.clip import CLIP
from diptych_training.optim import learning_rate
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches import BatchMaker
from diptych_training.train.curves import draw_curves
from diptych_training.train.interrupt import Interrupt
from diptych_training.train.metrics_log import MetricsLog, read_metrics
from diptych_training.train.state import TrainState
from diptych_training.train.step import autocast, copied_buffers, forward_backward, restore_buffers

PACE_STEPS = 50

Validate = Callable[[CLIP], dict[str, float]]
SecondsLeft = Callable[[int, float], float]  # steps done, seconds they took -> seconds that the others take


@dataclass(frozen=True)
class Loop:
    """One run and what it needs. `train` goes on from wherever `state` is."""

    config: TrainConfig
    folder: RunFolder
    state: TrainState
    batches: BatchMaker
    validate: Validate
    log: MetricsLog

    def train(self, seconds_left: SecondsLeft | None = None) -> bool:
        """Train to the end, or until SIGINT or SIGTERM. Returns whether the end was reached.

        `seconds_left` is asked once, after the first steps: the machine has its working pace by then.
        Raises TrainingFailed when loss or gradients stay non-finite.
        """
        n_steps, first, started = self.config.run.steps, self.state.step, time.perf_counter()
        with Interrupt() as interrupt, tqdm(total=n_steps, initial=self.state.step, unit="step") as progress:
            while self.state.step < n_steps and not interrupt.requested:
                loss = self._step()
                progress.update()
                progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
                self._after_step(progress.write)
                if seconds_left is not None and self.state.step - first == PACE_STEPS:
                    left_s = seconds_left(PACE_STEPS, time.perf_counter() - started)
                    progress.write(f"about {left_s / 60:.1f} min left, by the pace of {PACE_STEPS} steps")
        self._keep()
        return self.state.step == n_steps

    def _step(self) -> float:
        state, run = self.state, self.config.run
        started = time.perf_counter()
        buffers = copied_buffers(state.model)
        loss = forward_backward(state.model, self.batches.make(state.step), run.precision, self.config.loss)
        norm = state.stepper.apply(state.step, loss)
        if not math.isfinite(norm):
            restore_buffers(state.model, buffers)
        elif state.ema is not None:
            state.ema.update(state.model, state.step)
        state.step += 1
        if state.step % run.log_every == 0 or state.step == run.steps:
            self.log.write(state.step, self._numbers(loss, norm, time.perf_counter() - started))
        return loss

    def _numbers(self, loss: float, norm: float, seconds: float) -> dict[str, float]:
        state, run = self.state, self.config.run
        bias = state.model.logit_bias
        return {
            "loss": loss,
            "learning_rate": learning_rate(state.step - 1, run.steps, self.config.optim),
            "logit_scale": math.exp(state.model.logit_scale.item()),
            **({} if bias is None else {"logit_bias": bias.item()}),
            "gradient_norm": norm,
            "skipped_steps": float(state.stepper.n_skipped),
            "images_per_s": run.batch_size / seconds,
        }

    def _after_step(self, say: Callable[[str], None]) -> None:
        step, run = self.state.step, self.config.run
        if step % run.validate_every == 0 or step == run.steps:
            say(self._validate())
        if step % run.checkpoint_every == 0:
            self._keep()

    def _validate(self) -> str:
        """Validate, keep the weights if they are the best so far, draw. Returns a line for the screen."""
        state = self.state
        with autocast(state.model.logit_scale.device, self.config.run.precision):
            metrics = self.validate(state.judged)
        score = fmean(metrics[name] for name in self.config.run.best_by)
        self.log.write(state.step, {f"validation/{name}": value for name, value in metrics.items()})
        is_best = score > state.best_score
        if is_best:
            state.best_score = score
            write_checkpoint(self.folder.best, state.best_checkpoint(metrics))
        title = f"{self.config.name}, step {state.step}"
        write_atomic(self.folder.curves_file, draw_curves(read_metrics(self.folder.metrics_file), title))
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        return f"step {state.step}: {numbers}{'  (best so far)' if is_best else ''}"

    def _keep(self) -> None:
        write_checkpoint(self.folder.last, self.state.checkpoint())
