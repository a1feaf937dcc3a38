"""Computes the sizes and offsets of the resize, the crop and the letterbox.

Follows torchvision's `Resize` and `CenterCrop`, transformers' `CLIPImageProcessorPil` and open_clip's
letterbox to the pixel, Python's rounding of halves to even included.
"""

from dataclasses import dataclass
from typing import assert_never

from diptych.bundle.manifest import ImageSpec


@dataclass(frozen=True)
class Placement:
    """Resize to `width` x `height`, then paste at (`left`, `top`) of a size x size canvas.

    Offsets are negative where the resized image is cropped, positive where it is padded.
    """

    width: int
    height: int
    left: int
    top: int


def place(width: int, height: int, spec: ImageSpec) -> Placement:
    """The placement of an upright image of `width` x `height` pixels."""
    resized_width, resized_height = resized_size(width, height, spec)
    left = _offset(resized_width, spec)
    top = _offset(resized_height, spec)
    return Placement(resized_width, resized_height, left, top)


def resized_size(width: int, height: int, spec: ImageSpec) -> tuple[int, int]:
    """(width, height) of the resized image before it is cropped or padded; at least 1 x 1."""
    match spec.resize_mode:
        case "shortest":
            edge = spec.resize_edge
            long = int(edge * max(width, height) / min(width, height))
            return (edge, long) if width <= height else (long, edge)
        case "longest":
            ratio = max(width / spec.size, height / spec.size)
            # The reference computes 0 pixels, and fails, for a strip thinner than half a pixel.
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        case "squash":
            return spec.resize_edge, spec.resize_edge
        case _:
            assert_never(spec.resize_mode)


def _offset(length: int, spec: ImageSpec) -> int:
    """The start of an edge of `length` pixels on the canvas."""
    if length <= spec.size:
        return (spec.size - length) // 2
    margin = length - spec.size
    return -(margin // 2 if spec.crop == "floor" else round(margin / 2))
