"""EfficientNet-Lite as an image tower (Tan & Le 2019, "EfficientNet", in its variant for phones).

Inverted residuals (Sandler et al. 2018) with ReLU6 and without squeeze-and-excitation; the stem and the last
convolution do not grow. A plain average pools, then comes a projection, or the classifier and its classes'
embeddings.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.config import EfficientNetLiteConfig, LiteStage

NORM_EPS = 1e-3  # TensorFlow's, with which the published weights were trained


class ConvNorm(nn.Module):
    """A convolution padded as TensorFlow's "same", and batch normalisation or a bias."""

    def __init__(
        self,
        in_planes: int,
        planes: int,
        kernel: int,
        stride: int = 1,
        *,
        norm: bool,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.before, extra = (kernel - stride) // 2, (kernel - stride) % 2  # of an input of even size
        self.after = self.before + extra
        groups = planes if depthwise else 1
        self.conv = nn.Conv2d(in_planes, planes, kernel, stride=stride, groups=groups, bias=not norm)
        self.bn = nn.BatchNorm2d(planes, eps=NORM_EPS) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) -> (B, planes, H / stride, W / stride)."""
        if self.after:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        x = self.conv(x)
        return x if self.bn is None else self.bn(x)


class InvertedResidual(nn.Module):
    """Expansion, a convolution of each channel by itself, projection; a shortcut where the shape stays."""

    def __init__(self, in_planes: int, planes: int, stage: LiteStage, stride: int, *, norm: bool) -> None:
        super().__init__()
        wide = in_planes * stage.expansion
        self.expand = ConvNorm(in_planes, wide, 1, norm=norm) if stage.expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, stage.kernel, stride, norm=norm, depthwise=True)
        self.project = ConvNorm(wide, planes, 1, norm=norm)
        self.has_shortcut = stride == 1 and in_planes == planes

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_planes, H, W) -> (B, planes, H / stride, W / stride)."""
        y: Tensor = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.has_shortcut else y


class EfficientNetLite(nn.Module):
    """Stem, seven stages, a wide last convolution (`blocks.7`), average and head."""

    class_embedding: Tensor  # (classes, embed_dim)

    def __init__(self, config: EfficientNetLiteConfig, embed_dim: int) -> None:
        super().__init__()
        channels, norm = config.n_stem, config.norm
        self.temperature = config.temperature
        self.stem = ConvNorm(3, channels, 3, stride=2, norm=norm)
        self.blocks = nn.ModuleList()
        for stage in config.stages:
            strides = [stage.stride] + [1] * (stage.n_blocks - 1)
            planes = [channels] + [stage.planes] * (stage.n_blocks - 1)
            self.blocks.append(
                nn.Sequential(
                    *(
                        InvertedResidual(in_planes, stage.planes, stage, stride, norm=norm)
                        for in_planes, stride in zip(planes, strides, strict=True)
                    )
                )
            )
            channels = stage.planes
        self.blocks.append(ConvNorm(channels, config.n_features, 1, norm=norm))
        self.proj: nn.Linear | None = None
        self.classifier: nn.Linear | None = None
        if config.classes is None:
            self.proj = nn.Linear(config.n_features, embed_dim, bias=False)
            nn.init.normal_(self.proj.weight, std=config.n_features**-0.5)
        else:
            self.classifier = nn.Linear(config.n_features, config.classes)
            self.class_embedding = nn.Parameter(torch.randn(config.classes, embed_dim) * embed_dim**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, embed_dim)."""
        return self.head(self.pooled(pixels))

    def pooled(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, C), before the head."""
        return self._feature_map(pixels).mean(dim=(2, 3))

    def head(self, pooled: Tensor) -> Tensor:
        """(B, C) -> (B, embed_dim): the projection, or the mean of the classes' embeddings."""
        if self.classifier is None:
            assert self.proj is not None
            return self.proj(pooled)  # type: ignore[no-any-return]
        probabilities = (self.classifier(pooled) / self.temperature).softmax(dim=-1)
        return probabilities @ self.class_embedding  # type: ignore[no-any-return]

    def grid(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, side^2, C), the cells of the last feature map, before pooling."""
        return self._feature_map(pixels).flatten(2).transpose(1, 2)

    def drop_pooling(self) -> None:
        """Remove what only `forward` needs."""
        self.proj = self.classifier = None

    def _feature_map(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, S / 32, S / 32)."""
        x: Tensor = F.relu6(self.stem(pixels))
        *stages, last = self.blocks
        for stage in stages:
            x = stage(x)
        return F.relu6(last(x))
