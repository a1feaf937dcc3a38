"""ConVIRT: CLIP's ancestor (Zhang et al. 2020, "Contrastive learning of medical visual representations from
paired images and text", section 2).

Non-linear projections (`model.projection`), a temperature that is not learned (`model.initial_scale` is its
inverse; the paper's 0.1 is a scale of 10), one random text of each item per step, and a weighted mean of both
directions. The paper draws a sentence of a report; here the recipe's `data.captions` draws a whole caption. A
part of a caption would often equal a part of another one, which would count as a negative.
"""

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from diptych_training.objectives.contrastive import Contrastive, Pairs, scaled_cosines, targets
from diptych_training.schema import Frozen, Probability


class ConvirtConfig(Frozen):
    """`image_weight` is the weight of the image-to-text direction, lambda in the paper."""

    version: ClassVar[int] = 2
    kind: Literal["convirt"] = "convirt"
    image_weight: Probability = 0.75


class Convirt(Contrastive):
    """The weighted mean of both cross-entropies at a fixed temperature."""

    def __init__(self, config: ConvirtConfig) -> None:
        self.config = config

    def loss(self, pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor | None = None) -> Tensor:
        """The mean over `rows`; the bias is ignored."""
        wanted = targets(pairs)
        image_to_text, text_to_image = scaled_cosines(
            pairs.image_features, pairs.text_features, pairs.rows, logit_scale.detach()
        )
        weight = self.config.image_weight
        return weight * F.cross_entropy(image_to_text, wanted) + (1 - weight) * F.cross_entropy(
            text_to_image, wanted
        )
