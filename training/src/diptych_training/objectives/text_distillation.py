"""Distillation of a text tower from a sentence encoder: every text towards its target, and the similarities
of texts towards those of their targets (Park et al. 2019, "Relational knowledge distillation").
"""

import torch.nn.functional as F
from torch import Tensor

SIMILARITY_WEIGHT = 2.0


def text_distillation_loss(features: Tensor, targets: Tensor, rows: slice = slice(None)) -> Tensor:
    """The loss of some rows against all: (B, D) features before normalisation, of which the first `dims`
    numbers are taught, and (B, dims) targets of unit norm.
    """
    learned = F.normalize(features[:, : targets.shape[1]], dim=1)
    cosines = (learned[rows] * targets[rows]).sum(dim=1)
    differences = learned[rows] @ learned.T - targets[rows] @ targets.T
    return (1 - cosines).mean() + SIMILARITY_WEIGHT * differences.square().mean()
