"""Exponential moving average of a model's weights."""

import copy

import torch
from torch import nn

from diptych_training.objectives.predictive import TrainedModel
from diptych_training.train.distributed.parallel import local_shard


class Ema:
    """A second model that averages the weights of the first (Polyak averaging); it often generalises
    better.
    """

    def __init__(self, model: TrainedModel, decay: float) -> None:
        """Start as a copy of the model, before the model is sharded."""
        self._decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: TrainedModel, step: int, is_kept: torch.Tensor) -> None:
        """Average in the weights after step 0, 1, .... Early steps weigh more, so that the random start is
        forgotten.

        A skipped step moves nothing. `is_kept` is a scalar on the device; this does not wait for its value.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        average = _floats(self.model)
        weight = torch.where(is_kept, 1 - decay, 0.0)
        torch._foreach_lerp_(average, _floats(model), [weight] * len(average))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The averaged state dict."""
        return dict(self.model.state_dict())


def _floats(model: nn.Module) -> list[torch.Tensor]:
    return [local_shard(tensor) for tensor in model.state_dict().values() if tensor.is_floating_point()]
