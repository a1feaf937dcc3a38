"""VirTex: predict the caption from the grid of image features, forward and backward (Desai & Johnson 2021,
"VirTex: learning visual representations from textual annotations", 3).

A linear layer brings the grid to the width of two transformer decoders, one a direction. They share the token
embedding, which is also the output layer, and have post-norm layers of masked self-attention, attention to
the grid and a feed-forward part, as in the paper. Its dropout is left out, so that a step is a function of
the seed. The loss of an image is the negative log-likelihood of its caption, the sum of both directions.

Zero-shot, a name scores its log-likelihood: the sum over its tokens, the end included, in both directions.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from diptych_training.models.clip import causal_mask
from diptych_training.models.layers import FeedForward, SelfAttention, explicit_attention, fused_attention
from diptych_training.objectives.predictive import Predictive, Texts
from diptych_training.objectives.words import Captions
from diptych_training.schema import Frozen

N_AT_ONCE = 256  # names that are scored at once, for one image


class VirtexConfig(Frozen):
    """The decoders: their width, heads, and layers of each direction."""

    n_entries: ClassVar[int] = 0  # it has no dictionary

    kind: Literal["virtex"] = "virtex"
    width: PositiveInt = 128
    layers: PositiveInt = 1
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _check(self) -> "VirtexConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class GridAttention(nn.Module):
    """Multi-head attention of tokens to the cells of a grid."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        """(B, L, W) tokens and (B or 1, cells, W) -> (B, L, W)."""
        key, value = self.key_value(grid).chunk(2, dim=-1)
        attend = fused_attention if x.is_cuda else explicit_attention
        y = attend(self._split(self.query(x)), self._split(key), self._split(value), None)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, heads, L, W / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Self-attention, attention to the grid and feed-forward part, each with a residual, then normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.grid_attn = SelfAttention(width, heads), GridAttention(width, heads)
        self.mlp = FeedForward(width, "gelu")
        self.ln_1, self.ln_2, self.ln_3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, grid: Tensor, mask: Tensor) -> Tensor:
        """(B, L, W) tokens, (B or 1, cells, W) and an additive mask (L, L) -> (B, L, W)."""
        x = self.ln_1(x + self.attn(x, mask))
        x = self.ln_2(x + self.grid_attn(x, grid))
        return self.ln_3(x + self.mlp(x))  # type: ignore[no-any-return]


class Virtex(Predictive):
    """The textual head: two decoders over the grid."""

    needs_grid = True
    n_validated = 100  # each image is scored with every name

    def __init__(self, config: VirtexConfig, n_features: int, captions: Captions) -> None:
        super().__init__(captions)
        width, length = config.width, captions.spec.context_length
        self.projection = nn.Linear(n_features, width)
        self.token_embedding = nn.Embedding(captions.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.randn(length, width) * 0.02)
        self.ln = nn.LayerNorm(width)
        self.onward = nn.ModuleList(DecoderLayer(width, config.heads) for _ in range(config.layers))
        self.backward_ = nn.ModuleList(DecoderLayer(width, config.heads) for _ in range(config.layers))
        self.output_bias = nn.Parameter(torch.zeros(captions.vocab_size))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def targets(self, input_ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Texts:
        """The lengths of the captions (b,), start and end included."""
        return Texts(input_ids, self.lengths(input_ids))

    def loss(self, images: Tensor, texts: Texts) -> Tensor:
        """(b, cells, W) -> the mean over the images."""
        return -self.log_likelihood(self.projection(images), texts.input_ids, texts.targets).mean()

    def class_scores(self, images: Tensor, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """(N, cells, W) -> (N, C), the mean over the templates."""
        scores = [
            self._scores(images, [template.replace("{}", name) for name in names]) for template in templates
        ]
        return torch.stack(scores).mean(dim=0)

    def lengths(self, input_ids: Tensor) -> Tensor:
        """(b, L) -> (b,): up to the end-of-text token, which is included."""
        return (input_ids == self.captions.end).int().argmax(dim=1) + 1

    def log_likelihood(self, grid: Tensor, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B or 1, cells, width), (B, L) and (B,) -> (B,): log-likelihoods, the sum of both directions."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        turned = input_ids.gather(
            1, (lengths[:, None] - 1 - places).clamp(min=0)
        )  # from the end to the start
        onward = self._one_way(self.onward, grid, input_ids, lengths)
        return onward + self._one_way(self.backward_, grid, turned, lengths)

    def _one_way(self, layers: nn.ModuleList, grid: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """The sums of the log-probabilities of each token after the first, given those before it."""
        n = ids.shape[1] - 1
        x = self.ln(self.token_embedding(ids[:, :-1]) + self.positional_embedding[:n])
        mask = causal_mask(n).to(x.device)
        for layer in layers:
            x = layer(x, grid, mask)
        is_predicted = torch.arange(n, device=ids.device) < lengths[:, None] - 1  # (B, n)
        logits = F.linear(x[is_predicted], self.token_embedding.weight, self.output_bias)
        losses = F.cross_entropy(logits.float(), ids[:, 1:][is_predicted], reduction="none")
        return losses.new_zeros(is_predicted.shape).masked_scatter(is_predicted, -losses).sum(dim=1)

    def _scores(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """(N, cells, W) and C texts -> (N, C)."""
        rows = [torch.from_numpy(self.captions.ids(text)).long() for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(images.device)
        parts = list(zip(torch.split(ids, N_AT_ONCE), torch.split(self.lengths(ids), N_AT_ONCE), strict=True))
        return torch.stack(
            [
                torch.cat([self.log_likelihood(grid, some, lengths) for some, lengths in parts])
                for grid in torch.split(self.projection(images), 1)
            ]
        )
