"""Converts a decoded image of any colour mode to 8-bit RGB."""

from typing import Literal

import numpy as np
from PIL import Image

from diptych.errors import UnsupportedImage

Alpha = Literal["white", "drop"]

_BITS_PER_SAMPLE = 258  # TIFF tag
_STRIP_PX = 1_000_000
# The conversions that Pillow defines. 32-bit samples (I, F) have no known white, LAB and HSV no sRGB
# conversion.
_CONVERTIBLE = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})


def to_rgb(image: Image.Image, alpha: Alpha) -> Image.Image:
    """Convert to a new RGB image without metadata.

    Raises UnsupportedImage for a mode without a defined white.

    With `white`, transparent pixels are blended over white; with `drop`, the alpha channel is discarded.
    """
    if image.mode.startswith("I;16"):
        return _rgb_of_gray16(image, alpha)
    if image.mode not in _CONVERTIBLE:
        raise UnsupportedImage(f"samples of mode {image.mode} have no defined conversion to RGB")
    rgb = _without_alpha(image, alpha) if image.has_transparency_data else image.convert("RGB")
    rgb.info = {}  # otherwise colour profiles and comments would be saved with it
    return rgb


def as_rgb(image: Image.Image, alpha: Alpha) -> Image.Image:
    """Convert as `to_rgb` does, but return an RGB image itself, with its metadata: never save the result."""
    is_rgb = image.mode == "RGB" and not image.has_transparency_data
    return image if is_rgb else to_rgb(image, alpha)


def _without_alpha(image: Image.Image, alpha: Alpha) -> Image.Image:
    """Convert in strips of rows: the intermediate images take 16 bytes a pixel, the result only 4."""
    rgb = Image.new("RGB", image.size)
    height = max(1, _STRIP_PX // image.width)
    for top in range(0, image.height, height):
        box = (0, top, image.width, min(top + height, image.height))
        rgb.paste(_flattened(image.crop(box).convert("RGBA"), alpha), box)
    return rgb


def _flattened(rgba: Image.Image, alpha: Alpha) -> Image.Image:
    if alpha == "drop":
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _rgb_of_gray16(image: Image.Image, alpha: Alpha) -> Image.Image:
    """Convert 16-bit gray by its high byte, as Pillow converts 16-bit RGB: both give the same pixels."""
    samples = np.asarray(image).astype(np.uint16)  # (H, W), native byte order
    gray = (samples >> (_bits_per_sample(image) - 8)).astype(np.uint8)
    key = image.info.get("transparency")
    if alpha == "white" and isinstance(key, int):
        gray[samples == key] = 255
    return Image.fromarray(gray).convert("RGB")


def _bits_per_sample(image: Image.Image) -> int:
    """16, except 12 for packed 12-bit TIFF, whose samples Pillow does not scale."""
    tags = getattr(image, "tag_v2", {})
    return int(tags.get(_BITS_PER_SAMPLE, (16,))[0])
