"""Random augmentations of batches of training images, configured by `AugmentConfig`.

Images are (B, 3, H, W) float in [0, 1]. All randomness comes from the generator, so a step can be repeated.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from diptych_training.config import AugmentConfig

Change = Callable[[Tensor, AugmentConfig, Generator], Tensor]
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Augment:
    """Applies the configured augmentations in order, each to a random part of the batch."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        changes: list[tuple[float, Change]] = [
            (config.affine_probability, affine),
            (config.thickness_probability, thickness),
            (config.outline_probability, outline),
            (config.blur_probability, blur),
            (config.grayscale_probability, grayscale),
            (config.hue_probability, hue),
            (config.color_probability, color),
            (config.recolor_probability, recolor),
            (config.invert_probability, invert),
            (config.shade_probability, shade),
            (config.cutout_probability, cutout),
        ]
        self._changes = [(probability, change) for probability, change in changes if probability > 0]

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape and range. The input is changed in place."""
        for probability, change in self._changes:
            chosen = torch.rand(len(images), generator=generator) < probability  # (B,)
            if chosen.any():
                images[chosen] = change(images[chosen], self._config, generator)
        return images


def affine(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Scale, squeeze, rotate and shift; the background is white."""
    n = len(images)
    low, high = (math.log(bound) for bound in config.scale)
    scale = torch.exp(low + (high - low) * torch.rand(n, generator=generator))
    squeeze = torch.exp(_symmetric(n, generator) * config.squeeze / 2)
    angle = _symmetric(n, generator) * math.radians(config.rotate_deg)
    shift = torch.stack([_symmetric(n, generator), _symmetric(n, generator)], dim=1) * 2 * config.translate
    cos, sin = torch.cos(angle), torch.sin(angle)
    across, down = 1 / (scale * squeeze), squeeze / scale  # sampling grid: inverse of the transformation
    rows = [
        torch.stack([cos * across, -sin * across, shift[:, 0]], 1),
        torch.stack([sin * down, cos * down, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return 1 - F.grid_sample(1 - images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def thickness(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Dark strokes grow (local minimum) or shrink (local maximum), mixed with the original at random."""
    grow = torch.rand(len(images), generator=generator) < 0.5
    share = torch.rand(len(images), 1, 1, 1, generator=generator)
    sign = torch.where(grow, -1.0, 1.0).view(-1, 1, 1, 1)
    pooled = sign * F.max_pool2d(sign * images, 3, stride=1, padding=1)
    return torch.lerp(images, pooled, share)


def outline(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Black edges on white: local maximum minus local minimum of the luminance."""
    luma = _luma(images)
    edges = F.max_pool2d(luma, 3, stride=1, padding=1) + F.max_pool2d(-luma, 3, stride=1, padding=1)
    gain = 1 + 2 * torch.rand(len(images), 1, 1, 1, generator=generator)
    return (1 - gain * edges).clamp(0, 1).expand_as(images)


def blur(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Binomial 3x3 filter."""
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line[None, :]).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def grayscale(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Luminance in all three channels."""
    return _luma(images).expand_as(images)


def hue(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Rotate the hue by up to `config.hue` of a full turn: a rotation about the gray axis."""
    angle = _symmetric(len(images), generator) * 2 * math.pi * config.hue
    cos, sin = torch.cos(angle), torch.sin(angle)
    same = (1 + 2 * cos) / 3
    one, other = (1 - cos) / 3 - sin / math.sqrt(3), (1 - cos) / 3 + sin / math.sqrt(3)
    matrix = torch.stack([same, one, other, other, same, one, one, other, same], 1).view(-1, 3, 3)
    return torch.einsum("bij,bjhw->bihw", matrix, images).clamp(0, 1)


def color(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Brightness, contrast and saturation, each by a random factor around 1."""
    brightness, contrast, saturation = (
        1 + amount * _symmetric(len(images), generator).view(-1, 1, 1, 1)
        for amount in (config.brightness, config.contrast, config.saturation)
    )
    images = torch.lerp(_luma(images).expand_as(images), images, saturation)
    images = 0.5 + (images - 0.5) * contrast
    return (images * brightness).clamp(0, 1)


def recolor(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Map black and white to two random colours, and interpolate between them."""
    dark = torch.rand(len(images), 3, 1, 1, generator=generator) * 0.5
    light = 1 - torch.rand(len(images), 3, 1, 1, generator=generator) * 0.4
    return dark + (light - dark) * images


def invert(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """White on black."""
    return 1 - images


def shade(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Make a flat drawing look shaded: light from one side, gloss, a soft shadow on the ground, and paper.

    The drawing is what differs from white. Each part has a random strength, up to `config.shade`.
    """
    n, _, height, width = images.shape
    light, gloss, shadow, paper = config.shade * torch.rand(4, n, 1, 1, 1, generator=generator)
    drawn = (4 * (1 - images.amin(dim=1, keepdim=True))).clamp(0, 1)  # (n, 1, H, W)
    grounds = 1 - shadow * (1 - drawn) * _soft(_shifted(drawn, generator))
    lit = images * (1 + drawn * light * _ramp(n, height, width, generator))
    glossy = lit + drawn * gloss * _spot(n, height, width, generator) * (1 - lit)
    grain = torch.rand(n, 1, height // 2, width // 2, generator=generator) - 0.5
    texture = 0.4 * paper * F.interpolate(grain, size=(height, width), mode="bilinear")
    shaded: Tensor = (glossy * grounds + texture).clamp(0, 1)
    return shaded


def _ramp(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """(n, 1, H, W) from -1 to 1 at most, in a random direction."""
    angle = (2 * math.pi * torch.rand(n, generator=generator)).view(n, 1, 1, 1)
    y, x = torch.linspace(-0.7, 0.7, height).view(1, 1, -1, 1), torch.linspace(-0.7, 0.7, width)
    return torch.cos(angle) * x + torch.sin(angle) * y


def _spot(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """(n, 1, H, W): a bright ellipse in the upper half, 1 at its centre."""
    x0 = 0.5 * _symmetric(n, generator).view(n, 1, 1, 1)
    y0 = -0.5 + 0.3 * _symmetric(n, generator).view(n, 1, 1, 1)
    y, x = torch.linspace(-1, 1, height).view(1, 1, -1, 1), torch.linspace(-1, 1, width)
    return torch.exp(-4 * (x - x0) ** 2 - 10 * (y - y0) ** 2)


def _shifted(drawn: Tensor, generator: Generator) -> Tensor:
    """(n, 1, H, W): the drawing a little lower and to one side."""
    sideways = 0.15 * _symmetric(len(drawn), generator)
    down = 0.05 + 0.1 * torch.rand(len(drawn), generator=generator)
    rows = torch.zeros(len(drawn), 2, 3)
    rows[:, 0, 0] = rows[:, 1, 1] = 1
    rows[:, 0, 2], rows[:, 1, 2] = -sideways, -down
    return F.grid_sample(
        drawn, F.affine_grid(rows, list(drawn.shape), align_corners=False), align_corners=False
    )


def _soft(drawn: Tensor) -> Tensor:
    """(n, 1, H, W) blurred over an eighth of the side."""
    size = drawn.shape[-1] // 16 * 2 + 1
    for _ in range(2):
        drawn = F.avg_pool2d(drawn, size, stride=1, padding=size // 2, count_include_pad=False)
    return drawn


def cutout(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """A white square at a random place, up to `config.cutout` of the side (DeVries & Taylor 2017)."""
    n, _, height, width = images.shape
    half = torch.rand(n, 1, 1, generator=generator) * config.cutout / 2
    center = torch.rand(n, 2, 1, 1, generator=generator)
    y = torch.linspace(0, 1, height).view(1, -1, 1)
    x = torch.linspace(0, 1, width).view(1, 1, -1)
    inside = ((y - center[:, 0]).abs() <= half) & ((x - center[:, 1]).abs() <= half)  # (n, H, W)
    return images.masked_fill(inside[:, None], 1.0)


def _symmetric(n: int, generator: Generator) -> Tensor:
    """(n,) uniform in [-1, 1]."""
    return 2 * torch.rand(n, generator=generator) - 1


def _luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = LUMA
    return red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]
