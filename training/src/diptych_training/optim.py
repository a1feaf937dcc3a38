"""AdamW with decay on matrices only, its schedule, and steps that survive non-finite gradients."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from diptych_training.config import OptimConfig
from diptych_training.errors import TrainingFailed
from diptych_training.loss import MAX_LOGIT_SCALE
from diptych_training.models.clip import CLIP

# Lookup tables are not decayed: a row that no step looks up has no gradient and would only shrink.
LOOKUP_TABLES = ("token_embedding.weight", "positional_embedding", "class_embedding")


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and convolution kernels decay; gains, biases, the scale and lookup tables do not."""
    return parameter.ndim >= 2 and not name.endswith(LOOKUP_TABLES)


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over two groups, with and without decay."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if is_decayed(n, p)], "weight_decay": config.weight_decay},
        {"params": [p for n, p in named if not is_decayed(n, p)], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)


def learning_rate(step: int, n_steps: int, config: OptimConfig) -> float:
    """Rate of step 0, 1, ... n_steps - 1: linear warm-up, then a cosine down to `min_lr_ratio` of it."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, n_steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


class Stepper:
    """Applies gradients: clipped, at the scheduled rate, or not at all when they are not finite."""

    def __init__(
        self,
        model: CLIP,
        optimizer: torch.optim.AdamW,
        config: OptimConfig,
        n_steps: int,
        *,
        max_logit_scale: float | None = MAX_LOGIT_SCALE,
    ) -> None:
        self._model, self._optimizer, self._max_logit_scale = model, optimizer, max_logit_scale
        self._config, self._n_steps = config, n_steps
        self.n_skipped = 0
        self.n_skipped_in_row = 0

    def apply(self, step: int, loss: float) -> float:
        """Use the gradients of this step and clear them. Returns their norm before clipping.

        If it or the loss is not finite, the weights stay as they are and what is returned is not finite.
        Raises TrainingFailed after too many such steps in a row.
        """
        rate = learning_rate(step, self._n_steps, self._config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        norm = math.nan
        if math.isfinite(loss):
            norm = float(nn.utils.clip_grad_norm_(self._model.parameters(), self._config.grad_clip))
        if math.isfinite(norm):
            self._optimizer.step()
            if self._max_logit_scale is not None:
                with torch.no_grad():
                    self._model.logit_scale.clamp_(max=math.log(self._max_logit_scale))
            self.n_skipped_in_row = 0
        else:
            self._skip(step)
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def _skip(self, step: int) -> None:
        self.n_skipped += 1
        self.n_skipped_in_row += 1
        if self.n_skipped_in_row >= self._config.max_skipped_in_row:
            raise TrainingFailed(
                f"step {step}: loss or gradients were not finite {self.n_skipped_in_row} times in a row; "
                f'lower optim.lr (now {self._config.lr}) or use run.precision = "fp32"'
            )


def optimizer_tensors(optimizer: torch.optim.AdamW, names: Iterable[str]) -> dict[str, Tensor]:
    """The moments and step counts, named after the parameters (in the order of `names`)."""
    states = [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{name}.{key}": value
        for name, state in zip(names, states, strict=True)
        for key, value in state.items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.AdamW, names: Iterable[str], tensors: dict[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`, on each parameter's device and in its memory format.

    The fused kernel needs both, of the step count too.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        state: dict[str, Tensor] = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            stored = tensors.get(f"{name}.{key}")
            if stored is not None:
                like = (
                    torch.empty_like(parameter)
                    if stored.ndim
                    else stored.new_empty((), device=parameter.device)
                )
                state[key] = like.copy_(stored)
        if state:
            optimizer.state[parameter].update(state)


def parameter_names(model: nn.Module) -> list[str]:
    """Names in the optimizer's order: decayed ones first."""
    named = list(model.named_parameters())
    decayed = [n for n, p in named if is_decayed(n, p)]
    return decayed + [n for n, p in named if not is_decayed(n, p)]
