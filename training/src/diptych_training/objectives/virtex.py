"""VirTex: predict the caption from the grid of image features, forward and backward (Desai & Johnson 2021,
"VirTex: learning visual representations from textual annotations", 3).

A linear layer brings the grid to the width of two transformer decoders, one a direction. They share the token
embedding, which is also the output layer, and have post-norm layers of masked self-attention, attention to
the grid and a feed-forward part, as in the paper. Its dropout is left out, so that a step is a function of
the seed. The loss of an image is the negative log-likelihood of its caption, the sum of both directions, as
the paper writes it; its code takes the mean over the tokens of a batch, so that long captions count less.

The paper trains with SGD (momentum 0.9, LookAhead), at a rate of 0.2 for the image tower and 0.001 for the
head, and its code draws all matrices of the head with a deviation of 0.02. Here both have the recipe's AdamW
and one rate, and the embeddings alone are drawn so; other matrices have the defaults of torch.

Zero-shot, a name scores its log-likelihood: the sum over its tokens, the end included, in both directions.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from diptych_training.models.clip import causal_mask
from diptych_training.models.layers import FeedForward, SelfAttention, explicit_attention, fused_attention
from diptych_training.objectives.predictive import NameScorer, Predictive, Texts, token_log_probabilities
from diptych_training.objectives.words import Captions
from diptych_training.schema import Frozen

ROWS_AT_ONCE = 4096  # beginnings of names that are scored at once, of all images together


class VirtexConfig(Frozen):
    """The decoders: their width, heads, and layers of each direction."""

    n_entries: ClassVar[int] = 0  # it has no dictionary

    version: ClassVar[int] = 1
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
        """(B, L, W) tokens and (B, cells, W) -> (B, L, W)."""
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
        """(B, L, W) tokens, (B, cells, W) and an additive mask (L, L) -> (B, L, W)."""
        return self.look(self.attend(x, mask), grid)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """The first part: tokens see those before them."""
        return self.ln_1(x + self.attn(x, mask))  # type: ignore[no-any-return]

    def look(self, x: Tensor, grid: Tensor) -> Tensor:
        """The second part: each token by itself sees the grid."""
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

    def name_scorer(self, names: Sequence[str], template: str) -> NameScorer:
        """From (N, cells, W), the log-likelihoods of the names. What several begin with is computed once."""
        ids = [self.captions.ids(template.replace("{}", name)).tolist() for name in names]
        turned = [one[::-1] for one in ids]
        onward, backward = (cast(Sequence[DecoderLayer], layers) for layers in (self.onward, self.backward_))
        ways = [(onward, Beginnings(ids)), (backward, Beginnings(turned))]
        started = [self._first_attention(layers, beginnings) for layers, beginnings in ways]

        def score(images: Tensor) -> Tensor:
            grid = self.projection(images)
            found = [
                torch.cat(
                    [self._score(*way, x, some) for some in torch.split(grid, max(1, ROWS_AT_ONCE // len(x)))]
                )
                for way, x in zip(ways, started, strict=True)
            ]
            return found[0] + found[1]

        return score

    def lengths(self, input_ids: Tensor) -> Tensor:
        """(b, L) -> (b,): up to the end-of-text token, which is included."""
        return (input_ids == self.captions.end).int().argmax(dim=1) + 1

    def log_likelihood(self, grid: Tensor, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, cells, width), (B, L) and (B,) -> (B,): log-likelihoods, the sum of both directions."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        turned = input_ids.gather(
            1, (lengths[:, None] - 1 - places).clamp(min=0)
        )  # from the end to the start
        onward = self._one_way(self.onward, grid, input_ids, lengths)
        return onward + self._one_way(self.backward_, grid, turned, lengths)

    def _one_way(self, layers: nn.ModuleList, grid: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """The sums of the log-probabilities of each token after the first, given those before it."""
        n = ids.shape[1] - 1
        x, mask = self._embedded(ids[:, :-1]), causal_mask(n).to(ids.device)
        for layer in layers:
            x = layer(x, grid, mask)
        is_predicted = torch.arange(n, device=ids.device) < lengths[:, None] - 1  # (B, n)
        logits = F.linear(x[is_predicted], self.token_embedding.weight, self.output_bias)
        losses = F.cross_entropy(logits.float(), ids[:, 1:][is_predicted], reduction="none")
        return losses.new_zeros(is_predicted.shape).masked_scatter(is_predicted, -losses).sum(dim=1)

    def _embedded(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, width)."""
        return self.ln(self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]])  # type: ignore[no-any-return]

    def _first_attention(self, layers: Sequence[DecoderLayer], beginnings: "Beginnings") -> Tensor:
        """(U, width): the beginnings after the first self-attention, which no image changes."""
        x = self._embedded(beginnings.ids.to(self.output_bias.device))
        return layers[0].attend(x, causal_mask(x.shape[1]).to(x.device)).flatten(0, 1)[beginnings.first]

    def _score(
        self, layers: Sequence[DecoderLayer], beginnings: "Beginnings", x: Tensor, grid: Tensor
    ) -> Tensor:
        """(U, width) of `_first_attention` and (B, cells, width) -> (B, C)."""
        x = x.expand(len(grid), -1, -1)
        for number, layer in enumerate(layers):
            if number > 0:
                every = x[:, beginnings.of].flatten(0, 1)  # (B * C, L, width)
                mask = causal_mask(every.shape[1]).to(x.device)
                x = layer.attend(every, mask).view(len(grid), -1, x.shape[-1])[:, beginnings.first]
            x = layer.look(x, grid)
        found = token_log_probabilities(
            x, beginnings.following.to(x.device), self.token_embedding.weight, self.output_bias
        )
        names = beginnings.names.to(x.device)
        return found.new_zeros(len(grid), len(beginnings.ids)).index_add(1, names, found)


class Beginnings:
    """The different beginnings of C token sequences, each of which predicts what follows it.

    `ids` (C, L) are the sequences without their last token, padded. `of` (C, L) numbers the beginning up to
    each token, and `first` (U,) is where each of the U beginnings stands first, in the flattened `ids`.
    `following` (T, 2) are the beginnings and the tokens after them, of all sequences one after the other;
    `names` (T,) are the numbers of their sequences.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        longest = max(map(len, sequences)) - 1
        numbers: dict[tuple[int, ...], int] = {}
        ids, of = torch.zeros(2, len(sequences), longest, dtype=torch.int64)
        first: list[int] = []
        following: list[tuple[int, int]] = []
        names: list[int] = []
        for name, sequence in enumerate(sequences):
            for end in range(1, len(sequence)):
                number = numbers.setdefault(tuple(sequence[:end]), len(numbers))
                if number == len(first):
                    first.append(name * longest + end - 1)
                ids[name, end - 1], of[name, end - 1] = sequence[end - 1], number
                following.append((number, sequence[end]))
                names.append(name)
        self.ids, self.of = ids, of
        self.first, self.following, self.names = map(torch.tensor, (first, following, names))
