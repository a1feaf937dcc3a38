"""Locked weights: whole towers or first layers that do not change during training, or by low-rank adapters
alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.config import LockConfig, LoraConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.models import ModelConfig, build_model
from diptych_training.models.depth import OBJECTIVE, SHARED, TOWERS, Depth, Tower, depths
from diptych_training.models.lora import adapt


class LockedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics and does not update them, in training mode too.

    Its gain and bias learn unless they are locked themselves.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def lock(model: nn.Module, config: LockConfig, lora: LoraConfig | None = None) -> None:
    """Disable gradients of the weights that the configuration locks, and let locked ones learn by adapters.

    Raises TrainingConfigError if a tower has fewer layers than are to be locked, if `lora` finds no weight to
    adapt, or if nothing is left to learn.
    """
    depth_of = depths(name for name, _ in model.named_parameters())
    n_locked = {tower: _n_locked(tower, config, depth_of) for tower in TOWERS}

    def is_locked(name: str) -> bool:
        if name.startswith(OBJECTIVE):
            return False
        if name in SHARED:
            return config.scale
        return depth_of[name].layer < n_locked[depth_of[name].tower]

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_locked(name))
    if lora is not None and not adapt(model, lora.rank, lora.alpha, lora.targets):
        raise TrainingConfigError(
            f"lora.targets is {', '.join(lora.targets)}: no locked layer has such weights; lock layers of "
            "transformers by lock.image or lock.text, or leave lora out"
        )
    if not any(p.requires_grad for name, p in model.named_parameters() if name not in SHARED):
        raise TrainingConfigError("lock.image and lock.text lock both towers whole: nothing is left to learn")
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and (config.statistics or is_locked(f"{name}.weight")):
            module.__class__ = LockedBatchNorm  # keeps copies and state dicts unchanged


def check_lock(model: ModelConfig, config: LockConfig, lora: LoraConfig | None = None) -> None:
    """Raise what `lock` would raise, without allocating weights."""
    with torch.device("meta"):
        lock(build_model(model), config, lora)


def _n_locked(tower: Tower, config: LockConfig, depth_of: dict[str, Depth]) -> int:
    n_layers = next((depth.n_layers for depth in depth_of.values() if depth.tower == tower), 0)
    wanted = config.image if tower == "image" else config.text
    if wanted == "all":
        return n_layers
    if wanted > n_layers:
        raise TrainingConfigError(
            f"lock.{tower} is {wanted}, the {tower} tower has {n_layers} layers, stem and head counted"
        )
    return wanted
