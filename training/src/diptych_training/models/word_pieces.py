"""A text tower over word pieces: their weighted mean, and a transformer over the same rows, side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import WordPiecesConfig
from diptych_training.models.layers import Block, Transformer

PADDING = 0
MASKED = float("-inf")


class WordPieces(nn.Module):
    """`mean_projection` gives the first `mean_dim` numbers, `text_projection` the others.

    With a route, the sum of `token_route` over the pieces is the logit of the share of the first numbers.
    Untrained, it weighs both alike.
    """

    def __init__(self, config: WordPiecesConfig, embed_dim: int, block: Block) -> None:
        super().__init__()
        width = config.width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.token_weight = nn.Embedding(config.vocab_size, 1)  # logarithms
        self.mean_projection = nn.Linear(width, config.mean_dim)
        self.positional_embedding = nn.Parameter(torch.randn(config.context_length, width) * 0.01)
        self.ln_pre = nn.LayerNorm(width, eps=block.norm_eps)
        self.transformer = Transformer(block, config.layers)
        self.ln_final = nn.LayerNorm(width, eps=block.norm_eps)
        self.text_projection = nn.Linear(width, embed_dim - config.mean_dim)
        self.token_route = nn.Embedding(config.vocab_size, 1) if config.routed else None
        nn.init.normal_(self.token_embedding.weight, std=width**-0.5)
        nn.init.zeros_(self.token_weight.weight)
        if self.token_route is not None:
            nn.init.zeros_(self.token_route.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, embed_dim): both halves of unit norm, times their shares if there is a route."""
        rows = self.token_embedding(input_ids)  # (B, L, W)
        mean, rest = self._mean(input_ids, rows), self._rest(input_ids, rows)
        if self.token_route is not None:
            share = self.route_logits(input_ids).sigmoid()
            if self.training:
                share = _held(share)
            mean, rest = share * mean, (1 - share) * rest
        return torch.cat([mean, rest], dim=-1)

    def mean(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, mean_dim): the first half alone, without the transformer."""
        return self._mean(input_ids, self.token_embedding(input_ids))

    def route_logits(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, 1): the logits of the shares of the first half."""
        assert self.token_route is not None
        logits: Tensor = self.token_route(input_ids) * (input_ids != PADDING).unsqueeze(-1)  # (B, L, 1)
        return logits.sum(dim=1)

    def _mean(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        weights = self.token_weight(input_ids).exp() * (input_ids != PADDING).unsqueeze(-1)  # (B, L, 1)
        return F.normalize(self.mean_projection(_weighted_mean(rows, weights)), dim=-1)

    def _rest(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        is_token = input_ids != PADDING  # (B, L)
        mask = torch.zeros_like(rows[..., 0]).masked_fill(~is_token, MASKED)[:, None, None]  # (B, 1, 1, L)
        x = self.ln_pre(rows + self.positional_embedding[: input_ids.shape[1]])
        x = _weighted_mean(self.transformer(x, mask), is_token.unsqueeze(-1).to(x.dtype))
        return F.normalize(self.text_projection(self.ln_final(x)), dim=-1)


def _held(share: Tensor) -> Tensor:
    """The same numbers without gradients: images of one kind would draw all texts to their half. The share
    stays in the graph, since DDP waits for the gradients of all weights.
    """
    return share.detach() + 0 * share


def _weighted_mean(rows: Tensor, weights: Tensor) -> Tensor:
    """(B, L, W) and (B, L, 1) -> (B, W)."""
    return (rows * weights).sum(dim=1) / weights.sum(dim=1)
