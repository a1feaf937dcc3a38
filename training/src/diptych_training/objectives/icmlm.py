"""ICMLM: predict a masked word of the caption from the image, the attention variant (Sariyildiz et al. 2020,
"Learning visual representations with caption annotations", 3.2: ICMLM with attention and fully connected
layers).

The masked caption decides where to look: cells of the grid and tokens are brought to one space (linear layer,
normalisation, ReLU), each cell gets the soft maximum (log-sum-exp) of its scaled inner products with the
tokens, a softmax over the cells makes these weights, and the weighted mean of the cells alone predicts the
masked token, through two fully connected layers. The loss of an image is the negative log-probability of the
masked token. The paper reads captions with a pretrained BERT and masks nouns, adjectives and verbs; here a
small transformer learns to read them, and one token, drawn evenly, is masked.

Zero-shot, a name scores the mean over its tokens of the log-probability of the token where it is masked.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from diptych_training.models.layers import Block, Transformer
from diptych_training.objectives.predictive import NOTHING, Predictive, Texts
from diptych_training.objectives.words import Captions
from diptych_training.schema import Frozen

N_AT_ONCE = 512  # masked names that are scored at once, for one image


class IcmlmConfig(Frozen):
    """The transformer that reads captions: its width, layers and heads; the width of the attention, too."""

    n_entries: ClassVar[int] = 0  # it has no dictionary

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

    def class_scores(self, images: Tensor, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(N, cells, W) -> (N, C), the mean over the templates."""
        scores = [
            self._scores(images, [template.replace("{}", name) for name in names]) for template in templates
        ]
        return torch.stack(scores).mean(dim=0)

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
        """(b or 1, cells, W), (b, L, width) and (b, L) -> (b, vocabulary): what the masked token is."""
        cells = self.of_cells(grid)  # (b or 1, cells, width)
        fit = cells @ tokens.transpose(1, 2) * cells.shape[-1] ** -0.5  # (b, cells, L)
        soft_maximum = fit.masked_fill(~is_text[:, None], float("-inf")).logsumexp(dim=2)  # (b, cells)
        seen = (soft_maximum.softmax(dim=1)[:, None].to(grid.dtype) @ grid)[:, 0]  # (b, W)
        return self.predict(seen)  # type: ignore[no-any-return]

    def _scores(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """(N, cells, W) and C texts -> (N, C)."""
        rows = [torch.from_numpy(self.captions.ids(text)).long() for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(images.device)
        lengths = self.lengths(ids)
        places = torch.arange(ids.shape[1], device=ids.device)
        is_masked = (places > 0) & (places < lengths[:, None] - 1)  # (C, L): each of these in turn
        name, place = is_masked.nonzero(as_tuple=True)  # (M,) each
        masked, wanted = ids[name], ids[name, place]
        masked[torch.arange(len(masked), device=ids.device), place] = self.mask_id
        parts = [
            (self.read(some), self.is_text(some), right)
            for some, right in zip(
                torch.split(masked, N_AT_ONCE), torch.split(wanted, N_AT_ONCE), strict=True
            )
        ]
        scores = []
        for grid in torch.split(images, 1):
            found = [
                -F.cross_entropy(self.logits(grid, tokens, is_text).float(), right, reduction="none")
                for tokens, is_text, right in parts
            ]
            sums = torch.zeros(len(ids), device=ids.device).index_add(0, name, torch.cat(found))
            scores.append(sums / is_masked.sum(dim=1))
        return torch.stack(scores).nan_to_num(nan=float("-inf"), neginf=float("-inf"))
