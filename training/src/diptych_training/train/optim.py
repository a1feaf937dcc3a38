"""AdamW with weight decay on matrices only, its schedules, and steps that survive non-finite gradients."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from diptych_training.config import OptimConfig
from diptych_training.errors import TrainingFailed
from diptych_training.models.clip import CLIP
from diptych_training.models.depth import depths
from diptych_training.models.lora import is_of_adapter
from diptych_training.objectives.contrastive import MAX_LOGIT_SCALE
from diptych_training.objectives.predictive import TrainedModel
from diptych_training.train.distributed.parallel import clip_gradients, copy_full

# Lookup tables do not decay: a row without gradients would only shrink.
LOOKUP_TABLES = (
    "token_embedding.weight",
    "token_weight.weight",
    "token_route.weight",
    "positional_embedding",
    "class_embedding",
)


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Matrices and convolution kernels decay; gains, biases, the scale and lookup tables do not."""
    return parameter.ndim >= 2 and not name.endswith(LOOKUP_TABLES)


@dataclass(frozen=True)
class ParameterGroup:
    """Named parameters with the same weight decay and the same factor of the learning rate (`lr_scale`)."""

    weight_decay: float
    lr_scale: float
    named: list[tuple[str, nn.Parameter]] = field(default_factory=list)


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[ParameterGroup]:
    """Group all learned parameters: the highest rates first, and within a rate the decayed ones first."""
    groups: dict[tuple[float, bool, bool], ParameterGroup] = {}
    scales = rate_scales((name for name, _ in model.named_parameters()), config.layer_decay)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # A fused step cannot mix sharded and whole weights.
            key = scales[name], is_decayed(name, parameter), isinstance(parameter, DTensor)
            group = groups.setdefault(key, ParameterGroup(config.weight_decay if key[1] else 0.0, key[0]))
            group.named.append((name, parameter))
    return [groups[key] for key in sorted(groups, reverse=True)]


def rate_scales(names: Iterable[str], layer_decay: float) -> dict[str, float]:
    """Each parameter's factor of the rate: smaller, the farther from its tower's output (Clark et al.
    2020); adapters learn at the whole rate.
    """
    known = list(names)
    depth_of = {name: depth for name, depth in depths(known).items() if not is_of_adapter(name)}
    return {name: layer_decay ** depth_of[name].n_above if name in depth_of else 1.0 for name in known}


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov & Hutter 2019) over the parameter groups."""
    groups = [
        {"params": group.named, "weight_decay": group.weight_decay, "lr_scale": group.lr_scale}
        for group in parameter_groups(model, config)
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)


def learning_rate(step: int, n_steps: int, config: OptimConfig) -> float:
    """Rate of step 0, 1, ... n_steps - 1: linear warm-up, then a cosine down to `min_lr_ratio` of the
    peak; or the peak, and a line down to there in the last `cooldown` of the steps.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        height = min(1.0, (n_steps - step) / max(1, round(config.cooldown * n_steps)))
    else:
        progress = (step - config.warmup_steps) / max(1, n_steps - config.warmup_steps)
        height = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * max(0.0, height))


class Stepper:
    """Applies gradients: clipped, at the scheduled rate, and not at all if they are not finite.

    Finiteness is tested and counted on the device, so that no step waits for it; `check` waits.
    """

    def __init__(
        self,
        model: TrainedModel,
        optimizer: torch.optim.AdamW,
        config: OptimConfig,
        n_steps: int,
        *,
        max_logit_scale: float | None = MAX_LOGIT_SCALE,
    ) -> None:
        self._model, self._optimizer, self._max_logit_scale = model, optimizer, max_logit_scale
        self._config, self._n_steps = config, n_steps
        self.restore(n_skipped=0, n_skipped_in_row=0)

    @property
    def n_skipped(self) -> int:
        """The number of skipped steps. Waits for the device."""
        return int(self._skipped[0])

    @property
    def n_skipped_in_row(self) -> int:
        """The number of the latest steps in a row that were skipped. Waits for the device."""
        return int(self._skipped[1])

    def restore(self, *, n_skipped: int, n_skipped_in_row: int) -> None:
        """Continue from these counts."""
        counts = [n_skipped, n_skipped_in_row, n_skipped_in_row]  # the third: the longest row
        self._skipped = torch.tensor(counts, device=next(self._model.parameters()).device)

    def apply(self, step: int, loss: Tensor) -> Tensor:
        """Apply the gradients of this step and clear them. Returns their norm before clipping, on the device.

        If the norm or the loss is not finite, the weights do not change and the returned norm is not finite.
        """
        rate = learning_rate(step, self._n_steps, self._config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        norm = clip_gradients(self._model.parameters(), self._config.grad_clip).to(loss.device)
        is_finite = norm.isfinite() & loss.isfinite()
        # torch's GradScaler sets the same attribute: fused kernels then leave weights and moments unchanged.
        self._optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
        self._optimizer.step()
        if self._max_logit_scale is not None and isinstance(self._model, CLIP):
            with torch.no_grad():
                self._model.logit_scale.clamp_(max=math.log(self._max_logit_scale))
        self._count(~is_finite)
        self._optimizer.zero_grad(set_to_none=True)
        return norm.where(is_finite, math.nan)

    def check(self, step: int) -> None:
        """Raise TrainingFailed if too many steps in a row were skipped so far. Waits for the device."""
        most = int(self._skipped[2])
        if most >= self._config.max_skipped_in_row:
            raise TrainingFailed(
                f"step {step}: loss or gradients were not finite {most} times in a row; "
                f'lower optim.lr (now {self._config.lr}) or use run.precision = "fp32"'
            )

    def _count(self, is_skipped: Tensor) -> None:
        in_all, in_row, most = self._skipped.unbind()
        in_row = (in_row + 1) * is_skipped
        self._skipped = torch.stack([in_all + is_skipped, in_row, torch.maximum(most, in_row)])


def optimizer_tensors(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The moments and step counts, named after the parameters."""
    return {
        f"{name}.{key}": value
        for name, parameter in named_parameters(optimizer)
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`, on each parameter's device and in its memory format.

    The fused kernel needs both, for the step count too.
    """
    for name, parameter in named_parameters(optimizer):
        state: dict[str, Tensor] = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            stored = tensors.get(f"{name}.{key}")
            if stored is not None:
                is_count = stored.ndim == 0 and key == "step"
                state[key] = (
                    stored.new_empty((), device=parameter.device) if is_count else torch.empty_like(parameter)
                )
                copy_full(state[key], stored)
        if state:
            optimizer.state[parameter].update(state)


def named_parameters(optimizer: torch.optim.AdamW) -> Iterator[tuple[str, nn.Parameter]]:
    """The learned parameters by name."""
    for group in optimizer.param_groups:
        yield from zip(group["param_names"], group["params"], strict=True)
