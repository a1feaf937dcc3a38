"""All that changes during training, and its way into a checkpoint and back; knows nothing of data."""

from dataclasses import dataclass

import torch

from diptych_training.checkpoint import EMA, MODEL, OPTIMIZER, Checkpoint
from diptych_training.config import TrainConfig
from diptych_training.errors import CheckpointError
from diptych_training.loss import max_logit_scale
from diptych_training.models import CLIP, build_model
from diptych_training.optim import (
    Stepper,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_names,
)
from diptych_training.train.ema import Ema


@dataclass
class TrainState:
    """Model, optimizer, average, and how far they are: `step` is the number of steps done."""

    model: CLIP
    optimizer: torch.optim.AdamW
    stepper: Stepper
    ema: Ema | None
    step: int = 0
    best_score: float = float("-inf")

    @property
    def judged(self) -> CLIP:
        """The model that validation looks at and that is kept."""
        return self.model if self.ema is None else self.ema.model

    def checkpoint(self) -> Checkpoint:
        """Everything that going on needs."""
        names = parameter_names(self.model)
        tensors = {f"{MODEL}{name}": tensor for name, tensor in self.model.state_dict().items()}
        moments = optimizer_tensors(self.optimizer, names)
        tensors |= {f"{OPTIMIZER}{name}": tensor for name, tensor in moments.items()}
        if self.ema is not None:
            tensors |= {f"{EMA}{name}": tensor for name, tensor in self.ema.tensors().items()}
        return Checkpoint(tensors, self._numbers())

    def best_checkpoint(self, metrics: dict[str, float]) -> Checkpoint:
        """The judged weights alone, with what validation said of them."""
        tensors = {f"{MODEL}{name}": tensor for name, tensor in self.judged.state_dict().items()}
        return Checkpoint(tensors, {"step": self.step, "metrics": metrics})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what `checkpoint()` wrote. Raises CheckpointError if it belongs to another recipe."""
        try:
            self.model.load_state_dict(checkpoint.under(MODEL))
            if self.ema is not None:
                self.ema.model.load_state_dict(checkpoint.under(EMA))
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit this configuration: {error}") from error
        load_optimizer_tensors(self.optimizer, parameter_names(self.model), checkpoint.under(OPTIMIZER))
        state = checkpoint.state
        self.step = int(state["step"])
        self.best_score = float(state["best_score"]) if state["best_score"] is not None else float("-inf")
        self.stepper.n_skipped = int(state["n_skipped"])
        self.stepper.n_skipped_in_row = int(state["n_skipped_in_row"])

    def _numbers(self) -> dict[str, float | int | None]:
        return {
            "step": self.step,
            "best_score": None if self.best_score == float("-inf") else self.best_score,
            "n_skipped": self.stepper.n_skipped,
            "n_skipped_in_row": self.stepper.n_skipped_in_row,
        }


def new_state(config: TrainConfig, device: torch.device) -> TrainState:
    """Step 0 of a recipe: the same weights for the same seed."""
    torch.manual_seed(config.seed)
    model = build_model(config.model).to(device)
    if config.run.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config.optim)
    stepper = Stepper(
        model, optimizer, config.optim, config.run.steps, max_logit_scale=max_logit_scale(config.loss)
    )
    ema = Ema(model, config.run.ema_decay) if config.run.ema_decay is not None else None
    return TrainState(model, optimizer, stepper, ema)
