"""An image tower of two: one knows photographs, the other drawings, and a gate weighs them for each image.

A soft gate on the features of one expert, after Jacobs et al. 1991 ("Adaptive mixtures of local experts").
Texts weigh both halves alike, so a text finds photographs by one half and drawings by the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import PhotographsAndDrawingsConfig
from diptych_training.models.efficientnet_lite import EfficientNetLite
from diptych_training.models.resnet import ModifiedResNet


class PhotographsAndDrawings(nn.Module):
    """`photographs`, `drawings`, and `gate`: the logit that an image is a photograph."""

    def __init__(self, config: PhotographsAndDrawingsConfig, image_size: int, embed_dim: int) -> None:
        super().__init__()
        self.drawing_size = config.drawing_size
        self.averaged = image_size // config.drawing_size
        self.photographs = EfficientNetLite(config.photographs, config.photograph_dim)
        self.drawings = ModifiedResNet(
            config.drawings, config.drawing_size, embed_dim - config.photograph_dim
        )
        self.gate = nn.Linear(config.photographs.n_features, 1)

    def forward(self, pixels: Tensor, pooled: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) normalised -> (B, embed_dim): both halves of unit norm times their weights.

        With `pooled`, (B, C) of the photographs' tower from an earlier call, pixels may have the drawings'
        size.
        """
        averaged = self.averaged if pooled is None else pixels.shape[-1] // self.drawing_size
        if pooled is None:
            pooled = self.photographs.pooled(pixels)  # (B, C)
        is_photograph = self.gate(pooled).sigmoid()  # (B, 1)
        photograph = F.normalize(self.photographs.head(pooled), dim=-1)
        drawing = F.normalize(self.drawings(F.avg_pool2d(pixels, averaged)), dim=-1)
        return torch.cat([is_photograph * photograph, (1 - is_photograph) * drawing], dim=-1)
