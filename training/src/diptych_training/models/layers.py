"""Transformer layers of both towers, with the original's parameter names, and positional embeddings."""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import Activation

Row = Tensor | int  # one position per item, (B,), or the same for all


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation with which the original CLIP was trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Element-wise: any shape to the same shape."""
        return x * torch.sigmoid(1.702 * x)


def activation_layer(activation: Activation) -> nn.Module:
    """Return the module for a configured activation."""
    if activation == "quick_gelu":
        return QuickGELU()
    return nn.GELU(approximate="tanh" if activation == "gelu_tanh" else "none")


class FeedForward(nn.Sequential):
    """Two linear layers around an activation; the inner width defaults to four times the width."""

    def __init__(self, width: int, activation: Activation, inner_width: int | None = None) -> None:
        inner = inner_width or 4 * width
        super().__init__(
            OrderedDict(
                c_fc=nn.Linear(width, inner),
                gelu=activation_layer(activation),
                c_proj=nn.Linear(inner, width),
            )
        )


@dataclass(frozen=True)
class Block:
    """The shared settings of a transformer's blocks."""

    width: int
    heads: int
    activation: Activation
    mlp_width: int | None = None
    norm_eps: float = 1e-5


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """(B, heads, L or 1, d) of queries, (B, heads, L, d) of keys and values -> the shape of the queries.

    Used on a CPU and in exported graphs: torch's fused attention is seven times slower backward on a CPU at
    the lengths of captions.
    """
    logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # (B, heads, L or 1, L)
    if mask is not None:
        logits = logits + mask
    mixed: Tensor = logits.softmax(dim=-1).to(value.dtype) @ value
    return mixed


def fused_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Like `explicit_attention`, for GPUs: its kernels store no (B, heads, L, L) for the backward pass.

    For a ViT-L/14 and a batch of 256, the explicit form stores some 50 GB of them.
    """
    mask = None if mask is None else mask.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class SelfAttention(nn.Module):
    """Multi-head self-attention with `nn.MultiheadAttention`'s parameter names.

    Written out because `nn.MultiheadAttention` fixes the traced batch size and length in an exported graph.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, row: Row | None = None) -> Tensor:
        """(B, L, W) and an additive mask (L, L) or none -> (B, L, W); with `row`, only that query: (B, 1,
        W).
        """
        width = x.shape[-1]
        if row is None:
            query, key, value = self.project(x).chunk(3, dim=-1)  # (B, L, W) each
        else:
            query = self.project(take_row(x, row), slice(None, width))  # (B, 1, W)
            key, value = self.project(x, slice(width, None)).chunk(2, dim=-1)
            mask = None if mask is None else _mask_row(mask, row)
        query, key, value = self._split(query), self._split(key), self._split(value)
        attend = fused_attention if query.is_cuda else explicit_attention
        y = attend(query, key, value, mask)
        return self.out_proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def project(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """(B, L, W) -> queries, keys and values, (B, L, 3 W), or only these `rows` of the weight."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        return F.linear(x, weight, bias) if rows is None else F.linear(x, weight[rows], bias[rows])

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, heads, L, W / heads)."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


def take_row(x: Tensor, row: Row) -> Tensor:
    """(B, L, W) -> (B, 1, W)."""
    if isinstance(row, int):
        return x[:, row, None]
    return x[torch.arange(x.shape[0], device=x.device), row].unsqueeze(1)


def _mask_row(mask: Tensor, row: Row) -> Tensor:
    """(L, L) -> the mask of one row, broadcastable to logits of (B, heads, 1, L)."""
    return mask[row, None] if isinstance(row, int) else mask[row][:, None, None, :]


class ResidualAttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.attn = SelfAttention(block.width, block.heads)
        self.ln_1 = nn.LayerNorm(block.width, eps=block.norm_eps)
        self.mlp = FeedForward(block.width, block.activation, block.mlp_width)
        self.ln_2 = nn.LayerNorm(block.width, eps=block.norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None, row: Row | None = None) -> Tensor:
        """(B, L, W) -> (B, L, W); with `row`, only that token of each item: (B, 1, W)."""
        attended = self.attn(self.ln_1(x), mask, row)
        x = (x if row is None else take_row(x, row)) + attended
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A stack of residual attention blocks, initialised as in the original (scaled by depth)."""

    def __init__(self, block: Block, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(block) for _ in range(layers))
        self._init_parameters(block.width, layers)

    def _init_parameters(self, width: int, layers: int) -> None:
        into_residual_std = width**-0.5 * (2 * layers) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith("in_proj_weight"):
                nn.init.normal_(parameter, std=width**-0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                nn.init.normal_(parameter, std=into_residual_std)
            elif name.endswith("c_fc.weight"):
                nn.init.normal_(parameter, std=(2 * width) ** -0.5)

    def forward(self, x: Tensor, mask: Tensor | None = None, row: Row | None = None) -> Tensor:
        """(B, L, W) -> (B, L, W); with `row`, only that token of each item: (B, W).

        All but the last block compute all tokens. The last block computes queries, feed-forward part and
        gradients of one token only, which saves a seventh of the work of six layers.
        """
        *blocks, last = self.resblocks
        for block in blocks:
            x = block(x, mask)
        x = last(x, mask, row)
        return x if row is None else x.squeeze(1)


def positions_for(embedding: Tensor, n_cells: int, n_first: int = 1) -> Tensor:
    """(n_first + n, W) -> (n_first + n_cells, W): keep the first positions and resize the grid of the others.

    At the model's own size it returns the embedding itself, so exported graphs do not contain the resizing.
    """
    n_own = embedding.shape[0] - n_first
    if n_own == n_cells:
        return embedding
    side, own_side = math.isqrt(n_cells), math.isqrt(n_own)
    grid = embedding[n_first:].T.reshape(1, -1, own_side, own_side)  # (1, W, own_side, own_side)
    resized = F.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    return torch.cat([embedding[:n_first], resized.flatten(2)[0].T])
