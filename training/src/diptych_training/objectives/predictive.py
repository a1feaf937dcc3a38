"""What the objectives without a text tower share: an image tower, and a head that predicts from its features.

`PredictiveModel` is what a run of such an objective trains and stores: `visual.*` and `objective.*`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from diptych_training.models import ModelConfig
from diptych_training.models.clip import CLIP, image_tower
from diptych_training.objectives.words import Captions

NOTHING = -1  # in targets: no entry


@dataclass(frozen=True)
class Texts:
    """The captions of b items, as an objective predicts them; any of them on the device of the features."""

    input_ids: Tensor  # (b, L) int64, with start, end and padding
    targets: Tensor  # (b, ...) int64 that `targets` of the objective chose, `NOTHING` where there is none


class Predictive(nn.Module):
    """An objective that predicts captions from image features. Its parameters are those of its head.

    `dictionary` are the words, phrases or labels that it knows, chosen once from the captions of the data.
    """

    needs_grid: ClassVar[bool] = False  # features before pooling, (B, cells, W), instead of (B, D)
    n_validated: ClassVar[int | None] = None  # images of a source that a validation scores; None: all

    def __init__(self, captions: Captions, dictionary: Sequence[str] = ()) -> None:
        super().__init__()
        self.captions, self.dictionary = captions, tuple(dictionary)

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """(b, L) ids and (b,) hashes of labels -> what is to be predicted in this step; drawn from `rng`."""
        raise NotImplementedError

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """The mean over the items, as a scalar. `images`: (b, D), or the grid."""
        raise NotImplementedError

    def class_scores(self, images: Tensor, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(N, D), or the grid -> (N, C): how well each name fits each image; -inf where it cannot be said."""
        raise NotImplementedError


class PredictiveModel(nn.Module):
    """The image tower of a model and the head of an objective. There is no text tower."""

    def __init__(self, config: ModelConfig, objective: Predictive) -> None:
        super().__init__()
        self.config = config
        self.visual = image_tower(config)
        if objective.needs_grid:
            self.visual.drop_pooling()
        self.objective = objective

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> what the objective predicts from: (B, D), or the grid (B, cells, W)."""
        encode = self.visual.grid if self.objective.needs_grid else self.visual
        features: Tensor = encode(pixels)
        return features

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, D) features; of a grid, the mean of its cells."""
        features = self.features(pixels)
        return features.mean(dim=1) if self.objective.needs_grid else features

    def forward(self, pixels: Tensor, input_ids: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.objective.loss(self.features(pixels), Texts(input_ids, targets))


TrainedModel = CLIP | PredictiveModel


def padded(rows: Iterable[Sequence[int]]) -> Tensor:
    """Rows of any lengths -> (b, longest) int64, filled with `NOTHING`; at least one column."""
    found = list(rows)
    filled = torch.full((len(found), max(1, *map(len, found))), NOTHING)
    for target, row in zip(filled, found, strict=True):
        target[: len(row)] = torch.tensor(row, dtype=torch.int64)
    return filled


def mean_of_known(log_probabilities: Tensor, entries: Sequence[Sequence[int]]) -> Tensor:
    """(N, K) of K entries, and the entries of C names -> (N, C): each name's mean; -inf without an entry."""
    weights = log_probabilities.new_zeros(len(entries), log_probabilities.shape[1])
    for row, known in zip(weights, entries, strict=True):
        for entry in known:
            row[entry] += 1 / len(known)
    scores = log_probabilities @ weights.T
    unknown = torch.tensor([not known for known in entries], device=scores.device)
    return scores.masked_fill(unknown, float("-inf"))
