"""How large a model is, without the memory for it; knows nothing of names or files."""

from dataclasses import dataclass

import torch

from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import ModelConfig


@dataclass(frozen=True)
class Size:
    """Parameters by tower; scale and bias count to the text's side, where the original keeps them."""

    n_image: int
    n_text: int

    @property
    def n_all(self) -> int:
        """Both towers."""
        return self.n_image + self.n_text


def meta_model(config: ModelConfig) -> CLIP:
    """A model that has names and shapes, but no numbers."""
    with torch.device("meta"):
        return build_model(config)


def model_size(model: CLIP) -> Size:
    """Count the parameters of a model."""
    n_image = sum(parameter.numel() for parameter in model.visual.parameters())
    return Size(n_image, sum(parameter.numel() for parameter in model.parameters()) - n_image)
