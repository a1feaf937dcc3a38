"""SigLIP's image tower: a vision transformer with attention pooling.

No class token and no projection: a learned query attends to all patches (multi-head attention pooling, Zhai
et al. 2022, "Scaling vision transformers"). Names follow the original CLIP's where it has the same part.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import PooledViTConfig
from diptych_training.models.layers import Block, FeedForward, Transformer, positions_for


class ProbePool(nn.Module):
    """Attention pooling with a learned query, followed by a feed-forward layer with a residual connection."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        width = block.width
        self.heads = block.heads
        self.probe = nn.Parameter(torch.randn(width) * width**-0.5)
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.ln = nn.LayerNorm(width, eps=block.norm_eps)
        self.mlp = FeedForward(width, block.activation, block.mlp_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, W)."""
        batch, width = x.shape[0], x.shape[2]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        query = F.linear(self.probe.expand(batch, 1, width), weight[:width], bias[:width])  # (B, 1, W)
        key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)  # (B, L, W) each
        y = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        y = self.out_proj(y.transpose(1, 2).reshape(batch, width))
        return y + self.mlp(self.ln(y))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, heads, L, W / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class PooledVisionTransformer(nn.Module):
    """Patches, transformer, attention pooling."""

    def __init__(self, config: PooledViTConfig, image_size: int, block: Block) -> None:
        super().__init__()
        width, side = config.width, image_size // config.patch_size
        self.conv1 = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.positional_embedding = nn.Parameter(torch.randn(side * side, width) * width**-0.5)
        self.transformer = Transformer(block, config.layers)
        self.ln_post = nn.LayerNorm(width, eps=block.norm_eps)
        self.attnpool = ProbePool(block)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, width)."""
        return self.attnpool(self.grid(pixels))  # type: ignore[no-any-return]

    def grid(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, side^2, W), the features of the patches before pooling."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # (B, side^2, W)
        x = x + positions_for(self.positional_embedding, x.shape[1], n_first=0).to(x.dtype)
        return self.ln_post(self.transformer(x))  # type: ignore[no-any-return]

    def drop_pooling(self) -> None:
        """Remove what only `forward` needs."""
        del self.attnpool
