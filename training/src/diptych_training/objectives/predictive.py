"""Shared by the objectives without a text tower: an image tower, and a head that predicts from its features.

`PredictiveModel` is what a run of such an objective trains and stores: `visual.*` and `objective.*`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models import ModelConfig
from diptych_training.models.clip import CLIP, image_tower
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.objectives.words import Captions

NOTHING = -1  # in targets: no entry
ROWS = 256  # whose logits are computed at once
NameScorer = Callable[[Tensor], Tensor]  # (N, D), or the grid -> (N, C)


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

    def weight(self, texts: Sequence[str]) -> float:
        """How often an item with these texts is drawn, relative to others of its source."""
        return 1.0

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """The mean over the items, as a scalar. `images`: (b, D), or the grid."""
        raise NotImplementedError

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """Return a scorer: how well each of C names, in a template, fits an image; -inf if it is unknown.

        What does not depend on an image is computed here, once for all of them.
        """
        raise NotImplementedError

    def class_scores(self, images: Tensor, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(N, D), or the grid -> (N, C): the mean over the templates of the scores of names."""
        return torch.stack([self.name_scorer(names, one)(images) for one in templates]).mean(dim=0)


class PredictiveModel(nn.Module):
    """The image tower of a model and the head of an objective. There is no text tower."""

    def __init__(self, config: ModelConfig, objective: Predictive) -> None:
        super().__init__()
        self.config = config
        visual = image_tower(config)
        # The recipe refuses a tower of two, which has no cells.
        assert not isinstance(visual, PhotographsAndDrawings)
        self.visual = visual
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


class MeanOfKnown:
    """(N, K) log-probabilities of K entries -> (N, C): the mean over the entries of each name; -inf without
    one.
    """

    def __init__(self, entries: Sequence[Sequence[int]]) -> None:
        counts = torch.tensor([len(known) for known in entries])
        self._entries = torch.tensor([entry for known in entries for entry in known], dtype=torch.int64)
        self._names = torch.arange(len(entries)).repeat_interleave(counts)
        self._counts = counts

    def __call__(self, log_probabilities: Tensor) -> Tensor:
        """Score the names, as the class describes."""
        device = log_probabilities.device
        sums = log_probabilities.new_zeros(len(log_probabilities), len(self._counts)).index_add(
            1, self._names.to(device), log_probabilities[:, self._entries.to(device)]
        )
        counts = self._counts.to(device)
        return (sums / counts).masked_fill(counts == 0, float("-inf"))


def token_log_probabilities(x: Tensor, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N, R, W) features, (T, 2) of a row of R and a token, and an output layer -> (N, T) log-probabilities.

    The logits of a few rows at a time stay in the processor's cache.
    """
    rows, wanted = tokens.T
    logits = (x[:, rows] * weight[wanted]).sum(dim=2) + bias[wanted]
    normalisers = [
        F.linear(some, weight, bias).float().logsumexp(dim=1) for some in torch.split(x.flatten(0, 1), ROWS)
    ]
    return logits.float() - torch.cat(normalisers).view(x.shape[:2])[:, rows]
