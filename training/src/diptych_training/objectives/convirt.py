"""ConVIRT: CLIP's ancestor (Zhang et al. 2020, "Contrastive learning of medical visual representations from
paired images and text", section 2).

Non-linear projections (`model.projection`), a temperature that is not learned (`model.initial_scale` is its
inverse; the paper's 0.1 is a scale of 10), one random part of each text per step, and a weighted mean of both
directions. The paper draws a sentence of a report; captions are shorter, so a span of tokens is drawn here.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.objectives.contrastive import Contrastive, Pairs, scaled_cosines, targets
from diptych_training.schema import Frozen, Probability


class ConvirtConfig(Frozen):
    """`image_weight` is the weight of the image-to-text direction, lambda in the paper."""

    kind: Literal["convirt"] = "convirt"
    image_weight: Probability = 0.75


class Convirt(Contrastive):
    """The weighted mean of both cross-entropies at a fixed temperature, over random spans of the captions."""

    draws = True

    def __init__(self, config: ConvirtConfig) -> None:
        self.config = config

    def draw(self, input_ids: Tensor, rng: np.random.Generator) -> Tensor:
        """(b, L) -> (b, L): of each caption's tokens one span, its length and then its start drawn evenly.

        A caption ends at its end-of-text token, which has the largest id; the rest is padding.
        """
        drawn = torch.zeros_like(input_ids)
        for row, ids in zip(drawn, input_ids, strict=True):
            end = int(ids.argmax())
            n = end - 1  # tokens between start and end
            length = int(rng.integers(1, n + 1)) if n else 0
            first = 1 + int(rng.integers(0, n - length + 1))
            row[0], row[length + 1] = ids[0], ids[end]
            row[1 : length + 1] = ids[first : first + length]
        return drawn

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
