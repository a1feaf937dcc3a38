"""The symmetric contrastive loss; knows nothing of models or data."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_LOGIT_SCALE = 100.0  # Radford et al. 2021, 2.5: clipped so that training stays stable


def equal_rows(input_ids: Tensor) -> Tensor:
    """(B, L) ids -> (B, B) bool: which rows of the batch are the same caption."""
    _, group = torch.unique(input_ids, dim=0, return_inverse=True)
    same: Tensor = group[:, None] == group[None, :]
    return same


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, logit_scale: Tensor, positives: Tensor
) -> Tensor:
    """Mean of the image-to-text and text-to-image cross-entropies, as a scalar.

    (B, D) and (B, D) features, scalar log scale, (B, B) bool. The loss of Radford et al. 2021 (2.3, figure
    3), where a row with several positives shares its probability equally among them: with equal captions in
    a batch, hard targets would teach that an image does not go with its own words.
    """
    images = F.normalize(image_features.float(), dim=-1)
    texts = F.normalize(text_features.float(), dim=-1)
    logits = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * images @ texts.T  # (B, B)
    targets = positives / positives.sum(dim=1, keepdim=True)  # positives are symmetric: one target both ways
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
