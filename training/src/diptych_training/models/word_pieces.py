"""A text tower over word pieces: their weighted mean, and a transformer over the same rows, side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import WordPiecesConfig
from diptych_training.models.layers import Block, Transformer

PADDING = 0
MASKED = float("-inf")


class WordPieces(nn.Module):
    """`mean_projection` gives the first `mean_dim` numbers, `text_projection` the others."""

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
        nn.init.normal_(self.token_embedding.weight, std=width**-0.5)
        nn.init.zeros_(self.token_weight.weight)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, embed_dim): both halves of unit norm."""
        rows = self.token_embedding(input_ids)  # (B, L, W)
        return torch.cat([self._mean(input_ids, rows), self._rest(input_ids, rows)], dim=-1)

    def mean(self, input_ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, mean_dim): the first half alone, without the transformer."""
        return self._mean(input_ids, self.token_embedding(input_ids))

    def _mean(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        weights = self.token_weight(input_ids).exp() * (input_ids != PADDING).unsqueeze(-1)  # (B, L, 1)
        return F.normalize(self.mean_projection(_weighted_mean(rows, weights)), dim=-1)

    def _rest(self, input_ids: Tensor, rows: Tensor) -> Tensor:
        is_token = input_ids != PADDING  # (B, L)
        mask = torch.zeros_like(rows[..., 0]).masked_fill(~is_token, MASKED)[:, None, None]  # (B, 1, 1, L)
        x = self.ln_pre(rows + self.positional_embedding[: input_ids.shape[1]])
        x = _weighted_mean(self.transformer(x, mask), is_token.unsqueeze(-1).to(x.dtype))
        return F.normalize(self.text_projection(self.ln_final(x)), dim=-1)


def _weighted_mean(rows: Tensor, weights: Tensor) -> Tensor:
    """(B, L, W) and (B, L, 1) -> (B, W)."""
    return (rows * weights).sum(dim=1) / weights.sum(dim=1)
