"""Masked token, after ICMLM: predict it from the image and the rest of the caption (Sariyildiz et al. 2020,
"Learning visual representations with caption annotations", 3.2: attention and fully connected layers).

It is not ICMLM: the paper reads captions with a pretrained BERT that does not learn, and masks nouns,
adjectives and verbs. Here a small transformer learns to read them, and one token, drawn evenly, is masked.

The masked caption decides where to look: cells of the grid and tokens are brought to one space (linear layer,
normalisation, ReLU), each cell gets the soft maximum (log-sum-exp) of its scaled inner products with the
tokens, a softmax over the cells makes these weights, and the weighted mean of the cells alone predicts the
masked token, through two fully connected layers. The loss of an image is the negative log-probability of the
masked token.

Zero-shot, a name scores the mean over its tokens of the log-probability of the token where it is masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from diptych_training.models.layers import Block, Transformer
from diptych_training.objectives.predictive import (
    NOTHING,
    MeanOfKnown,
    NameScorer,
    Predictive,
    Texts,
    token_log_probabilities,
)
from diptych_training.objectives.words import Captions
from diptych_training.schema import Frozen

NAMES_AT_ONCE, IMAGES_AT_ONCE = 512, 8  # masked names that are scored at once, and for how many images


class IcmlmConfig(Frozen):
    """The transformer that reads captions: its width, layers and heads; the width of the attention, too."""

    n_entries: ClassVar[int] = 0  # it has no dictionary

    version: ClassVar[int] = 1
    kind: Literal["icmlm"] = "icmlm"
    width: PositiveInt = 128
    layers: PositiveInt = 1
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _check(self) -> "IcmlmConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class Icmlm(Predictive):
    """A reader of masked captions, the attention to the grid, and the layers that predict."""

    needs_grid = True
    n_validated = 100  # each image is scored with every name

    def __init__(self, config: IcmlmConfig, n_features: int, captions: Captions) -> None:
        super().__init__(captions)
        width = config.width
        self.mask_id = captions.vocab_size
        self.token_embedding = nn.Embedding(captions.vocab_size + 1, width)
        self.positional_embedding = nn.Parameter(torch.randn(captions.spec.context_length, width) * 0.01)
        self.transformer = Transformer(Block(width, config.heads, "gelu"), config.layers)
        self.of_cells = nn.Sequential(nn.Linear(n_features, width), nn.LayerNorm(width), nn.ReLU())
        self.of_tokens = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
        self.predict = nn.Sequential(
            nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, captions.vocab_size)
        )
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """The captions with one masked token each, and (b, 1): which it is; none in an empty caption."""
        masked, targets = input_ids.clone(), torch.full((len(input_ids), 1), NOTHING)
        for row, target, length in zip(masked, targets, self.lengths(input_ids).tolist(), strict=True):
            if length > 2:
                place = int(rng.integers(1, length - 1))
                target[0], row[place] = row[place].clone(), self.mask_id
        return Texts(masked, targets)

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, cells, W) -> the mean over the images."""
        logits = self.logits(images, self.read(texts.input_ids), self.is_text(texts.input_ids))
        targets = texts.targets[:, 0]
        losses = F.cross_entropy(logits.float(), targets, ignore_index=NOTHING, reduction="none")
        return losses.mean()

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, cells, W), the mean log-probability of each name's tokens. The names are read once."""
        ids = [self.captions.ids(template.replace("{}", name)).tolist() for name in names]
        by_length = sorted(range(len(ids)), key=lambda name: len(ids[name]))  # little padding
        masked = [(name, place) for name in by_length for place in range(1, len(ids[name]) - 1)]
        entries: list[list[int]] = [[] for _ in ids]
        for row, (name, _) in enumerate(masked):
            entries[name].append(row)
        mean = MeanOfKnown(entries)
        parts = [
            self._read_masked([(ids[name], place) for name, place in masked[start : start + NAMES_AT_ONCE]])
            for start in range(0, len(masked), NAMES_AT_ONCE)
        ]

        def score(images: Tensor) -> Tensor:
            scores = [
                images.new_zeros(len(images), 0),
                *(self._masked_scores(images, part) for part in parts),
            ]
            return mean(torch.cat(scores, dim=1))

        return score

    def lengths(self, input_ids: Tensor) -> Tensor:
        """(b, L) -> (b,): up to the end-of-text token, which is included."""
        return (input_ids == self.captions.end).int().argmax(dim=1) + 1

    def is_text(self, input_ids: Tensor) -> Tensor:
        """(b, L) bool: which tokens are not padding."""
        return torch.arange(input_ids.shape[1], device=input_ids.device) < self.lengths(input_ids)[:, None]

    def read(self, input_ids: Tensor) -> Tensor:
        """(b, L) -> (b, L, width): the tokens, in the space in which cells are compared with them."""
        x = self.token_embedding(input_ids) + self.positional_embedding[: input_ids.shape[1]]
        hidden = torch.zeros(input_ids.shape, device=x.device).masked_fill(
            ~self.is_text(input_ids), float("-inf")
        )
        return self.of_tokens(self.transformer(x, hidden[:, None, None, :]))  # type: ignore[no-any-return]

    def logits(self, grid: Tensor, tokens: Tensor, is_text: Tensor) -> Tensor:
        """(b, cells, W), (b, L, width) and (b, L) -> (b, vocabulary): what the masked token is."""
        cells = self.of_cells(grid)  # (b, cells, width)
        fit = cells @ tokens.transpose(1, 2) * cells.shape[-1] ** -0.5  # (b, cells, L)
        soft_maximum = fit.masked_fill(~is_text[:, None], float("-inf")).logsumexp(dim=2)  # (b, cells)
        seen = (soft_maximum.softmax(dim=1)[:, None].to(grid.dtype) @ grid)[:, 0]  # (b, W)
        return self.predict(seen)  # type: ignore[no-any-return]

    def _read_masked(self, masked: Sequence[tuple[Sequence[int], int]]) -> "ReadNames":
        """Read token sequences, each masked at a place."""
        rows = [torch.tensor(ids) for ids, _ in masked]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.positional_embedding.device)
        rows_of, places = torch.arange(len(masked)), torch.tensor([place for _, place in masked])
        wanted = torch.stack([rows_of.to(ids.device), ids[rows_of, places]], dim=1)
        is_text = self.is_text(ids)
        ids[rows_of, places] = self.mask_id
        return ReadNames(self.read(ids), is_text, wanted)

    def _masked_scores(self, images: Tensor, names: "ReadNames") -> Tensor:
        """(N, cells, W) and M masked names -> (N, M) log-probabilities."""
        first, activation, last = self.predict
        assert isinstance(last, nn.Linear)
        scores = []
        for grid in torch.split(images, IMAGES_AT_ONCE):
            cells = self.of_cells(grid)
            fit = cells.flatten(0, 1) @ names.tokens.flatten(0, 1).T * cells.shape[-1] ** -0.5
            fit = fit.view(*cells.shape[:2], *names.is_text.shape)  # (N, cells, M, L)
            weights = fit.masked_fill(~names.is_text, float("-inf")).logsumexp(dim=3).softmax(dim=1)
            # As the first layer is linear, it may come before the weighted mean.
            seen = activation(weights.transpose(1, 2) @ first(grid))  # (N, M, width)
            scores.append(token_log_probabilities(seen, names.wanted, last.weight, last.bias))
        return torch.cat(scores)


@dataclass(frozen=True)
class ReadNames:
    """M masked names: their tokens as `Icmlm.read` returns them, which are no padding, and what is masked."""

    tokens: Tensor  # (M, L, width)
    is_text: Tensor  # (M, L) bool
    wanted: Tensor  # (M, 2): 0 to M - 1, and the masked tokens
