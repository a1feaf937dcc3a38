"""Distillation by affinity mimicking (Wu et al. 2023, TinyCLIP; Yang et al. 2024, CLIP-KD), from the mean of
several teachers.

Distillation of a text tower from a sentence encoder: every text towards its target, and the similarities of
texts towards those of their targets (Park et al. 2019, "Relational knowledge distillation").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.objectives.contrastive import Pairs, scaled_cosines

SIMILARITY_WEIGHT = 2.0


def text_distillation_loss(features: Tensor, targets: Tensor, rows: slice = slice(None)) -> Tensor:
    """The loss of some rows against all: (B, D) features before normalisation, of which the first `dims`
    numbers are taught, and (B, dims) targets of unit norm.
    """
    learned = F.normalize(features[:, : targets.shape[1]], dim=1)
    cosines = (learned[rows] * targets[rows]).sum(dim=1)
    differences = learned[rows] @ learned.T - targets[rows] @ targets.T
    return (1 - cosines).mean() + SIMILARITY_WEIGHT * differences.square().mean()


@dataclass(frozen=True)
class Affinities:
    """A model's probability of each text for an image, and of each image for a text. Rows sum to 1."""

    image_to_text: Tensor  # (b, B) float32
    text_to_image: Tensor  # (b, B) float32


def affinities(images: Tensor, texts: Tensor, rows: slice, logit_scale: Tensor) -> Affinities:
    """The affinities of b rows, from features (B, D) before normalisation and the logarithm of the scale."""
    image_to_text, text_to_image = scaled_cosines(images, texts, rows, logit_scale)
    return Affinities(image_to_text.softmax(dim=1), text_to_image.softmax(dim=1))


def mean_affinities(several: Sequence[Affinities]) -> Affinities:
    """Average probabilities, not logits: teachers with larger scales do not outvote others."""
    return Affinities(
        torch.stack([one.image_to_text for one in several]).mean(dim=0),
        torch.stack([one.text_to_image for one in several]).mean(dim=0),
    )


ALL_ROWS = slice(None)


def distillation_loss(
    pairs: Pairs, targets: Affinities, logit_scale: Tensor, distilled: slice = ALL_ROWS
) -> Tensor:
    """Mean of both cross-entropies against the teachers' affinities, as a scalar.

    It is the mean over those rows of `pairs.rows` that are `distilled`; each counts over all columns.
    """
    image_to_text, text_to_image = scaled_cosines(
        pairs.image_features, pairs.text_features, pairs.rows, logit_scale
    )
    return (
        F.cross_entropy(image_to_text[distilled], targets.image_to_text[distilled])
        + F.cross_entropy(text_to_image[distilled], targets.text_to_image[distilled])
    ) / 2
