"""SigLIP: every pair judged by itself, with a learned scale and bias (Zhai et al. 2023, "Sigmoid loss for
language image pre-training", algorithm 1).
"""

import torch.nn.functional as F
from torch import Tensor

from diptych_training.objectives.contrastive import Contrastive, Pairs, unit


class Siglip(Contrastive):
    """Binary cross-entropy of every pair, summed over the texts and averaged over the images in `rows`.

    Pairs that share caption or label count as matching. The scale has no limit: the paper's ends at 118.
    """

    def loss(self, pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor | None) -> Tensor:
        """The mean over `rows`; the model must have a bias."""
        assert logit_bias is not None  # checked when the recipe is read
        images, texts = unit(pairs.image_features[pairs.rows]), unit(pairs.text_features)
        logits = logit_scale.exp() * images @ texts.T + logit_bias  # (b, B)
        signs = pairs.positives[pairs.rows].to(logits.dtype) * 2 - 1
        return -F.logsigmoid(signs * logits).sum(dim=1).mean()
