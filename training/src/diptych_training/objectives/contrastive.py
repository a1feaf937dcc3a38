"""Shared by the objectives with two towers: the pairs of a batch, their cosines, and the shape of a loss."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

LossKind = Literal["softmax", "sigmoid"]

MAX_LOGIT_SCALE = 100.0  # Radford et al. 2021, 2.5: clipped so that training stays stable


@dataclass(frozen=True)
class Pairs:
    """The features of a whole batch, before normalisation, and which of its pairs match.

    `rows` are the items of the caller, as a slice of the batch. If all callers have slices of the same size,
    the mean of their losses is the loss of the whole batch.
    """

    image_features: Tensor  # (B, D)
    text_features: Tensor  # (B, D)
    positives: Tensor  # (B, B) bool, symmetric: which pairs share caption or label
    rows: slice = field(default_factory=lambda: slice(None))  # b of the B


class Contrastive:
    """An objective that compares the features of both towers. It has no parameters of its own.

    `version` is raised when its code learns otherwise: the study then measures it again. Objectives that a
    recipe names have it in their table.
    """

    version: ClassVar[int] = 1
    max_logit_scale: ClassVar[float | None] = None  # upper limit of the logit scale in training

    def loss(self, pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor | None) -> Tensor:
        """The loss as a scalar; `logit_scale` (a logarithm) and `logit_bias` are scalars of the model."""
        raise NotImplementedError


def targets(pairs: Pairs) -> Tensor:
    """(b, B): each row's share of probability for each of the batch; rows sum to 1.

    A row with several positives shares its probability equally among them: with equal captions in a batch,
    hard targets would teach that an image does not match its own caption. Positives are symmetric, so both
    directions have the same targets.
    """
    positives = pairs.positives[pairs.rows]
    return positives / positives.sum(dim=1, keepdim=True)


def scaled_cosines(
    image_features: Tensor, text_features: Tensor, rows: slice, logit_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, D) features of both sides -> (b, B) logits of `rows`: images to texts, and texts to images."""
    images, texts = unit(image_features), unit(text_features)
    scale = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
    return scale * images[rows] @ texts.T, scale * texts[rows] @ images.T


def unit(features: Tensor) -> Tensor:
    """Any float dtype to float32 rows of unit norm."""
    return F.normalize(features.float(), dim=-1)
