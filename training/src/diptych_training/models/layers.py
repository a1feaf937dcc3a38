"""The transformer both towers are made of, under the original names; knows neither pixels nor tokens."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import Activation


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation that the original CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Element-wise: any shape to the same shape."""
        return x * torch.sigmoid(1.702 * x)


def activation_layer(activation: Activation) -> nn.Module:
    """The module for a configured activation."""
    if activation == "quick_gelu":
        return QuickGELU()
    return nn.GELU(approximate="tanh" if activation == "gelu_tanh" else "none")


class FeedForward(nn.Sequential):
    """Two linear layers around an activation, four times the width between them unless told otherwise."""

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
    """What the blocks of one transformer have in common."""

    width: int
    heads: int
    activation: Activation
    mlp_width: int | None = None
    norm_eps: float = 1e-5


class SelfAttention(nn.Module):
    """Multi-head self-attention with `nn.MultiheadAttention`'s parameter names.

    Written out because `nn.MultiheadAttention` bakes the traced batch and length into an exported graph, and
    because torch's fused attention is seven times slower backward on a CPU at the lengths of captions.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, W) and an additive mask (L, L) or none -> (B, L, W)."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3W)
        qkv = qkv.reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]  # (B, heads, L, W / heads) each
        logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # (B, heads, L, L)
        if mask is not None:
            logits = logits + mask
        y = logits.softmax(dim=-1).to(value.dtype) @ value
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]


class ResidualAttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward, each beside its residual."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.attn = SelfAttention(block.width, block.heads)
        self.ln_1 = nn.LayerNorm(block.width, eps=block.norm_eps)
        self.mlp = FeedForward(block.width, block.activation, block.mlp_width)
        self.ln_2 = nn.LayerNorm(block.width, eps=block.norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, W) -> (B, L, W)."""
        x = x + self.attn(self.ln_1(x), mask)
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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, W) -> (B, L, W)."""
        for block in self.resblocks:
            x = block(x, mask)
        return x
