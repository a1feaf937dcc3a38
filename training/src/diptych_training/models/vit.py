"""The vision transformer image tower."""

from collections import OrderedDict
from itertools import pairwise, starmap

import torch
from torch import Tensor, nn

from diptych_training.models.config import ViTConfig
from diptych_training.models.layers import Block, Transformer, positions_for

CLASS_TOKEN = 0  # its position


def _halving(in_channels: int, channels: int) -> nn.Module:
    """(B, in_channels, H, W) -> (B, channels, H / 2, W / 2)."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False),
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
        )
    )


class VisionTransformer(nn.Module):
    """Patches, class token, transformer, projection, with the original's attribute names.

    With a stem, `conv1` has 1x1 kernels: its patches are the cells of the stem's feature map.
    """

    def __init__(self, config: ViTConfig, image_size: int, embed_dim: int, block: Block) -> None:
        super().__init__()
        width, side = config.width, image_size // config.patch_size
        std = width**-0.5
        channels = (3, *config.stem)
        self.stem = nn.Sequential(*starmap(_halving, pairwise(channels)))  # empty without a stem
        patch = config.patch_size >> len(config.stem)
        self.conv1 = nn.Conv2d(channels[-1], width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * std)
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width) * std)
        self.ln_pre = nn.LayerNorm(width, eps=block.norm_eps)
        self.patch_dropout = config.patch_dropout
        self.transformer = Transformer(block, config.layers)
        self.ln_post = nn.LayerNorm(width, eps=block.norm_eps)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * std)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, embed_dim)."""
        x = self.transformer(self.ln_pre(self._tokens(pixels)), row=CLASS_TOKEN)  # (B, W)
        return self.ln_post(x) @ self.proj  # type: ignore[no-any-return]

    def grid(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, side^2, W), the features of the patches before any projection."""
        x = self.transformer(self.ln_pre(self._tokens(pixels)))
        return self.ln_post(x[:, CLASS_TOKEN + 1 :])  # type: ignore[no-any-return]

    def drop_pooling(self) -> None:
        """Remove what only `forward` needs."""
        del self.proj

    def _tokens(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 1 + side^2, W), with positions; fewer in training with patch dropout."""
        x = self.conv1(self.stem(pixels)).flatten(2).transpose(1, 2)  # (B, side^2, W)
        n_cells = x.shape[1]
        class_token = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([class_token, x], dim=1) + positions_for(self.positional_embedding, n_cells).to(x.dtype)
        return self._without_some(x) if self.training and self.patch_dropout else x

    def _without_some(self, x: Tensor) -> Tensor:
        """(B, 1 + cells, W) -> the class token, and of each image other random cells."""
        n_cells = x.shape[1] - 1
        n_kept = max(1, round(n_cells * (1 - self.patch_dropout)))
        kept = torch.rand(x.shape[0], n_cells, device=x.device).argsort(dim=1)[:, :n_kept] + 1
        cells = x.gather(1, kept[:, :, None].expand(-1, -1, x.shape[2]))
        return torch.cat([x[:, :1], cells], dim=1)
