"""The state of a run: model, optimizer, moving average of the weights, and what a checkpoint has of them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from diptych_training.checkpoint import ADAPTERS, EMA, MODEL, OPTIMIZER, Checkpoint
from diptych_training.config import TrainConfig
from diptych_training.importing.source_model import adapted_weights
from diptych_training.models import CLIP, build_model
from diptych_training.models.lora import adapter_weights, merged, unmerged
from diptych_training.objectives.predictive import Predictive, PredictiveModel, TrainedModel
from diptych_training.train.batches.batch import Position
from diptych_training.train.distributed.parallel import (
    full_tensors,
    is_sharded,
    load_full,
    local_shard,
    replicate,
    shard,
)
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.lock import lock
from diptych_training.train.memory_saving import checkpoint_blocks, compile_blocks
from diptych_training.train.objective import objective_of
from diptych_training.train.optim import Stepper, build_optimizer, load_optimizer_tensors, optimizer_tensors


class Ema:
    """A second model that averages the weights of the first (Polyak averaging); it often generalises
    better.
    """

    def __init__(self, model: TrainedModel, decay: float, *, share_locked: bool = False) -> None:
        """Start as a copy of the model, before the model is sharded; with `share_locked`, locked weights are
        those of the model itself.
        """
        self._decay = decay
        shared = {id(one): one for one in model.parameters() if share_locked and not one.requires_grad}
        self.model = copy.deepcopy(model, shared).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: TrainedModel, step: int, is_kept: torch.Tensor) -> None:
        """Average in the weights after step 0, 1, .... Early steps weigh more, so that the random start is
        forgotten.

        A skipped step moves nothing. `is_kept` is a scalar on the device; this does not wait for its value.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        weight = torch.where(is_kept, 1 - decay, 0.0)
        both = zip(_floats(self.model), _floats(model), strict=True)
        moving = [(mean, new) for mean, new in both if mean.data_ptr() != new.data_ptr()]
        torch._foreach_lerp_([mean for mean, _ in moving], [new for _, new in moving], [weight] * len(moving))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averaged state dict."""
        return dict(self.model.state_dict())


def _floats(model: nn.Module) -> list[torch.Tensor]:
    return [local_shard(tensor) for tensor in model.state_dict().values() if tensor.is_floating_point()]


@dataclass
class TrainState:
    """Model, optimizer and average, and the number of steps done (`step`)."""

    model: TrainedModel
    towers: (
        nn.Module
    )  # computes the features, or the loss of a predictive model: the model, or its DDP wrapper
    optimizer: torch.optim.AdamW
    stepper: Stepper
    ema: Ema | None
    ranks: Ranks = SINGLE_RANK
    step: int = 0
    best_score: float = float("-inf")
    position: Position = field(default_factory=dict)  # of the data at `step`

    @property
    def validated_model(self) -> TrainedModel:
        """The model that is validated and saved: the average if there is one."""
        return self.model if self.ema is None else self.ema.model

    def checkpoint(self, position: Position) -> Checkpoint:
        """Return the complete state for resuming; `position` is the data position before the next step.

        All ranks must call it; the first one gets the tensors.
        """
        tensors = {f"{OPTIMIZER}{name}": t for name, t in optimizer_tensors(self.optimizer).items()}
        for prefix, model in self._models():
            tensors |= {f"{prefix}{name}": tensor for name, tensor in merged(model).items()}
            tensors |= {f"{ADAPTERS}{prefix}{name}": t for name, t in adapter_weights(model).items()}
        return Checkpoint(full_tensors(tensors, self.ranks), {**self._numbers(), "data": position})

    def best_checkpoint(self, metrics: dict[str, float]) -> Checkpoint:
        """Return the validated weights and their metrics. All ranks must call it; the first one gets the
        tensors.
        """
        tensors = {f"{MODEL}{name}": tensor for name, tensor in merged(self.validated_model).items()}
        return Checkpoint(full_tensors(tensors, self.ranks), {"step": self.step, "metrics": metrics})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load what `checkpoint()` returned. Raises CheckpointError if it belongs to another recipe."""
        for prefix, model in self._models():
            adapters = checkpoint.under(f"{ADAPTERS}{prefix}")
            load_full(model, unmerged(model, checkpoint.under(prefix), adapters))
        load_optimizer_tensors(self.optimizer, checkpoint.under(OPTIMIZER))
        state = checkpoint.state
        self.step = int(state["step"])
        self.best_score = float(state["best_score"]) if state["best_score"] is not None else float("-inf")
        self.position = dict(state.get("data", {}))
        self.stepper.restore(
            n_skipped=int(state["n_skipped"]), n_skipped_in_row=int(state["n_skipped_in_row"])
        )

    def _models(self) -> list[tuple[str, TrainedModel]]:
        """The model and its average, each with the prefix of its weights in a checkpoint."""
        average = [] if self.ema is None else [(EMA, self.ema.model)]
        return [(MODEL, self.model), *average]

    def _numbers(self) -> dict[str, float | int | None]:
        return {
            "step": self.step,
            "best_score": None if self.best_score == float("-inf") else self.best_score,
            "n_skipped": self.stepper.n_skipped,
            "n_skipped_in_row": self.stepper.n_skipped_in_row,
        }


def new_state(
    config: TrainConfig,
    start: Checkpoint | None = None,
    ranks: Ranks = SINGLE_RANK,
    build_objective: Callable[[], Predictive] | None = None,
) -> TrainState:
    """The state at step 0: random weights from the recipe's seed, or the weights of `start`.

    `build_objective` builds the head of an objective without a text tower.

    Raises TrainingConfigError if the model cannot be locked as configured, CheckpointError if the weights do
    not fit.
    """
    torch.manual_seed(config.seed)
    model = _build(config, build_objective)
    if start is not None and isinstance(model, CLIP):
        model.load_state_dict(adapted_weights(start.under(MODEL), model, "the start"))
    lock(model, config.lock, config.lora)
    ema = None
    if config.run.ema_decay is not None:
        ema = Ema(model, config.run.ema_decay, share_locked=not config.scale.shard)
    _apply_memory_savings(model, config)
    for one in (model,) if ema is None else (model, ema.model):
        _place(one, config, ranks)
    optimizer = build_optimizer(model, config.optim)
    limit = objective_of(config).max_logit_scale if build_objective is None else None
    stepper = Stepper(model, optimizer, config.optim, config.run.steps, max_logit_scale=limit)
    towers = model if is_sharded(model) else replicate(model, ranks)
    return TrainState(model, towers, optimizer, stepper, ema, ranks)


def _build(config: TrainConfig, build_objective: Callable[[], Predictive] | None) -> TrainedModel:
    if build_objective is None:
        return build_model(config.model)
    return PredictiveModel(config.model, build_objective())


def _place(model: TrainedModel, config: TrainConfig, ranks: Ranks) -> None:
    """Move a model to the rank's device: whole, or this rank's shards."""
    if config.scale.shard and not ranks.is_single:
        shard(model, ranks)  # moves block by block, so that a device never holds all weights
        return
    model.to(ranks.device)
    if config.run.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _apply_memory_savings(model: TrainedModel, config: TrainConfig) -> None:
    if config.scale.checkpoint_blocks:
        checkpoint_blocks(model)
    if config.scale.compile:
        compile_blocks(model)
