"""The contrastive losses (softmax and sigmoid), for a whole batch or for a slice of it."""

from dataclasses import dataclass, field
from typing import Literal, assert_never

import torch.nn.functional as F
from torch import Tensor

LossKind = Literal["softmax", "sigmoid"]

MAX_LOGIT_SCALE = 100.0  # Radford et al. 2021, 2.5: clipped so that training stays stable


def max_logit_scale(kind: LossKind) -> float | None:
    """The upper limit of the logit scale in training; the sigmoid loss has none (SigLIP ends at 118)."""
    return MAX_LOGIT_SCALE if kind == "softmax" else None


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


def pair_loss(
    kind: LossKind, pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor | None, label_smoothing: float = 0.0
) -> Tensor:
    """The loss that a recipe names, as a scalar; `logit_scale` (a logarithm) and `logit_bias` are scalars.

    The sigmoid loss needs a bias, the softmax loss ignores it; `label_smoothing` applies to the softmax loss
    only.
    """
    if kind == "softmax":
        return softmax_loss(pairs, logit_scale, label_smoothing)
    if kind == "sigmoid":
        assert logit_bias is not None  # checked when the recipe is read
        return sigmoid_loss(pairs, logit_scale, logit_bias)
    assert_never(kind)


def softmax_loss(pairs: Pairs, logit_scale: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over `rows` of the image-to-text and text-to-image cross-entropies.

    The loss of Radford et al. 2021 (2.3, figure 3), except that a row with several positives shares its
    probability equally among them: with equal captions in a batch, hard targets would teach that an image
    does not match its own caption. Positives are symmetric, so both directions have the same targets.
    `label_smoothing` is the share of each target that is spread over the whole batch (Szegedy et al. 2016).
    """
    positives = pairs.positives[pairs.rows]
    targets = positives / positives.sum(dim=1, keepdim=True)  # (b, B)
    image_to_text, text_to_image = scaled_cosines(
        pairs.image_features, pairs.text_features, pairs.rows, logit_scale
    )
    both_ways = [
        F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        for logits in (image_to_text, text_to_image)
    ]
    return (both_ways[0] + both_ways[1]) / 2


def scaled_cosines(
    image_features: Tensor, text_features: Tensor, rows: slice, logit_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """(B, D) features of both sides -> (b, B) logits of `rows`: images to texts, and texts to images."""
    images, texts = _unit(image_features), _unit(text_features)
    scale = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
    return scale * images[rows] @ texts.T, scale * texts[rows] @ images.T


def sigmoid_loss(pairs: Pairs, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """Binary cross-entropy of every pair, summed over the texts and averaged over the images in `rows`.

    The loss of Zhai et al. 2023 (algorithm 1); pairs that share caption or label count as matching.
    """
    images, texts = _unit(pairs.image_features[pairs.rows]), _unit(pairs.text_features)
    logits = logit_scale.exp() * images @ texts.T + logit_bias  # (b, B)
    signs = pairs.positives[pairs.rows].to(logits.dtype) * 2 - 1
    return -F.logsigmoid(signs * logits).sum(dim=1).mean()


def _unit(features: Tensor) -> Tensor:
    """Any float dtype to float32 rows of unit norm."""
    return F.normalize(features.float(), dim=-1)
