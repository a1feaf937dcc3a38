"""Parameter counts of a model, without allocating its weights."""

from dataclasses import dataclass

import torch

from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import ModelConfig
from diptych_training.models.depth import SHARED, tower_of


@dataclass(frozen=True)
class Size:
    """Parameters by tower; scale and bias count as text parameters, as in the original."""

    n_image: int
    n_text: int

    @property
    def n_all(self) -> int:
        """Both towers."""
        return self.n_image + self.n_text


def meta_model(config: ModelConfig) -> CLIP:
    """Build a model with names and shapes but no values (device "meta")."""
    with torch.device("meta"):
        return build_model(config)


def model_size(model: CLIP) -> Size:
    """Count the parameters of a model."""
    n_image = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name not in SHARED and tower_of(name) == "image"
    )
    return Size(n_image, sum(parameter.numel() for parameter in model.parameters()) - n_image)
