"""CLIP: the symmetric contrastive loss with a learned scale (Radford et al. 2021, "Learning transferable
visual models from natural language supervision", 2.3 and figure 3).
"""

import torch.nn.functional as F
from torch import Tensor

from diptych_training.objectives.contrastive import (
    MAX_LOGIT_SCALE,
    Contrastive,
    Pairs,
    scaled_cosines,
    targets,
)


class Clip(Contrastive):
    """Mean of the image-to-text and text-to-image cross-entropies.

    `label_smoothing` is the share of each target that is spread over the whole batch (Szegedy et al. 2016).
    """

    max_logit_scale = MAX_LOGIT_SCALE

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor | None = None) -> Tensor:
        """The mean over `rows`; the bias is ignored."""
        wanted = targets(pairs)
        image_to_text, text_to_image = scaled_cosines(
            pairs.image_features, pairs.text_features, pairs.rows, logit_scale
        )
        both_ways = [
            F.cross_entropy(logits, wanted, label_smoothing=self.label_smoothing)
            for logits in (image_to_text, text_to_image)
        ]
        return (both_ways[0] + both_ways[1]) / 2
