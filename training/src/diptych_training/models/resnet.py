"""The ResNet image tower as modified for CLIP.

Compared with a plain ResNet: a stem of three convolutions, average pooling before every stride
(anti-aliasing, Zhang 2019), and attention pooling instead of a global average (Radford et al. 2021, 2.4).
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import ResNetConfig
from diptych_training.models.layers import positions_for


def _conv(in_planes: int, planes: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_planes, planes, kernel, stride=stride, padding=kernel // 2, bias=False)


def _pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


def _shortcut(in_planes: int, out_planes: int, stride: int) -> nn.Module | None:
    """Average pooling and a 1x1 convolution where the shape changes; the odd name "-1" is the original's."""
    if stride == 1 and in_planes == out_planes:
        return None
    return nn.Sequential(
        OrderedDict(
            [
                ("-1", nn.AvgPool2d(stride)),
                ("0", nn.Conv2d(in_planes, out_planes, 1, bias=False)),
                ("1", nn.BatchNorm2d(out_planes)),
            ]
        )
    )


class Bottleneck(nn.Module):
    """1x1, 3x3, pooling, 1x1 to four times the planes."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_planes, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = _pool(stride)
        self.conv3 = _conv(planes, planes * 4, 1)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = _shortcut(in_planes, planes * 4, stride)
        nn.init.zeros_(self.bn3.weight)  # each block starts as its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) -> (B, 4 planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(self.avgpool(y)))
        return F.relu(y + shortcut, inplace=True)


class BasicBlock(nn.Module):
    """Pooling, then two 3x3 convolutions: the block of the small model, not part of the original.

    Pooling comes first because a convolution before it would cost four times as much.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.avgpool = _pool(stride)
        self.conv1 = _conv(in_planes, planes, 3)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(in_planes, planes, stride)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) -> (B, planes, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(self.avgpool(x))), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + shortcut, inplace=True)


class AttentionPool2d(nn.Module):
    """Attention pooling whose query is the mean of the feature map."""

    def __init__(self, side: int, n_features: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        std = n_features**-0.5
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, n_features) * std)
        self.k_proj = nn.Linear(n_features, n_features)
        self.q_proj = nn.Linear(n_features, n_features)
        self.v_proj = nn.Linear(n_features, n_features)
        self.c_proj = nn.Linear(n_features, embed_dim)
        for projection in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            nn.init.normal_(projection.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, side, side) -> (B, embed_dim)."""
        n_cells = x.shape[-2] * x.shape[-1]
        x = x.flatten(2).transpose(1, 2)  # (B, side^2, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # (B, 1 + side^2, C)
        x = x + positions_for(self.positional_embedding, n_cells).to(x.dtype)
        query, key, value = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        y = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        return self.c_proj(y.transpose(1, 2).flatten(1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, heads, L, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class ModifiedResNet(nn.Module):
    """Stem, stages and attention pooling, with the original's attribute names."""

    def __init__(self, config: ResNetConfig, image_size: int, embed_dim: int) -> None:
        super().__init__()
        half, width = config.width // 2, config.width
        self.conv1 = _conv(3, half, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = _conv(half, half, 3)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = _conv(half, width, 3)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = _pool(2 if config.stem_pool else 1)
        self.n_stages = len(config.layers)
        self._add_stages(config)
        side = image_size // config.stride
        self.attnpool = AttentionPool2d(side, config.n_features, config.heads, embed_dim)

    def _add_stages(self, config: ResNetConfig) -> None:
        block = Bottleneck if config.block == "bottleneck" else BasicBlock
        channels = config.width
        for stage, (planes, n_blocks) in enumerate(
            zip(config.stage_planes, config.layers, strict=True), start=1
        ):
            blocks: list[nn.Module] = []
            for index in range(n_blocks):
                blocks.append(block(channels, planes, stride=2 if stage > 1 and index == 0 else 1))
                channels = planes * config.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, embed_dim)."""
        return self.attnpool(self._feature_map(pixels))  # type: ignore[no-any-return]

    def grid(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, side^2, C), the cells of the last feature map, before pooling."""
        return self._feature_map(pixels).flatten(2).transpose(1, 2)

    def drop_pooling(self) -> None:
        """Remove what only `forward` needs."""
        del self.attnpool

    def _feature_map(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, side, side)."""
        x: Tensor = F.relu(self.bn1(self.conv1(pixels)), inplace=True)  # (B, width / 2, S / 2, S / 2)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        x = self.avgpool(x)
        for stage in range(1, self.n_stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x
