"""Converts image files to the pixels that a bundle's image encoder takes.

How each kind of file is handled:

- JPEG (also progressive, CMYK and Adobe-inverted CMYK), PNG, WebP, GIF, BMP and TIFF are decoded; AVIF if
  Pillow supports it, HEIC with the extra `heif` (its decoder turns it upright, and its size is that of the
  upright picture). Anything else, including empty files and text, is UnsupportedImage.
- Truncated files of these formats: UndecodableImage, never a half-gray picture. Damage inside a file is an
  error if
  the decoder detects it; JPEG has no checksums, so that changed bytes may only change pixels.
- Animations and multi-page files: their first picture.
- EXIF orientation: turned upright, all eight; unreadable EXIF is ignored (AVIF's own decoder refuses it).
- Palette, gray, bilevel: converted to RGB. 16-bit samples: the high byte. 32-bit, float and LAB samples:
  UnsupportedImage, since it is not defined which value is white.
- Transparency: blended over white or dropped, as the bundle states.
- Colour profiles (ICC): ignored, as in the reference libraries, since models were trained on the raw samples.
- With `mode: fast`, a JPEG much larger than the model's input is decoded to a half, a quarter or an eighth
  of its size, at less than half the cost. The pixels differ, so the mode is part of a vector's identity.
- Files over the limit in bytes or pixels: TooLarge, decided by the header before pixels are decoded. The
  resized
  intermediate counts, too: 1 x 30000 pixels become 224 x 6720000 when the shortest edge is brought to 224.
- Small files that would keep a decoder busy for minutes are TooLarge too: where the limits have a guard. It
  does not cover TIFF, AVIF and HEIC: whoever does not trust such files decodes them in another process.
"""

import io
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.image.colour import as_rgb, to_rgb
from diptych.bundle.image.decode import (
    Decoded,
    ImageInfo,
    ImageLimits,
    OnHeader,
    TextBlocks,
    decode,
    decode_scaled,
    probe,
    silence_decoders,
    text_blocks,
)
from diptych.bundle.image.geometry import place, resized_size
from diptych.bundle.image.resize import ALONE, Sharing, kept, on_canvas, resize
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InvalidValue

__all__ = [
    "THUMBNAIL_MEDIA_TYPE",
    "DecodeMode",
    "ImageInfo",
    "ImageLimits",
    "OnHeader",
    "TextBlocks",
    "load_pixels",
    "open_rgb",
    "preprocess",
    "probe",
    "silence_decoders",
    "text_blocks",
    "thumbnail",
]

THUMBNAIL_MEDIA_TYPE = "image/webp"
THUMBNAIL_QUALITY = 80

DecodeMode = Literal["exact", "fast"]  # parity with the reference is proven for exact only


def load_pixels(
    payload: bytes,
    spec: ImageSpec,
    limits: ImageLimits,
    mode: DecodeMode = "exact",
    on_header: OnHeader | None = None,
    *,
    sharing: Sharing = ALONE,
) -> NDArray[np.uint8]:
    """Image file -> (S, S, 3) uint8 RGB. Raises UnsupportedImage, UndecodableImage, TooLarge.

    `on_header` is called with a header that is within the limits, before pixels are decoded. `sharing` may
    resize parts of the image in parallel.
    """
    convert, check = partial(as_rgb, alpha=spec.alpha), partial(_check_header, spec, limits, on_header)
    if mode == "exact":
        return preprocess(decode(payload, limits, convert, check), spec, limits, sharing=sharing)
    decoded = decode_scaled(payload, limits, convert, check, partial(resized_size, spec=spec))
    if decoded.is_scaled:
        return _prepare_scaled(decoded, spec)
    return preprocess(decoded.image, spec, limits, sharing=sharing)


def open_rgb(payload: bytes, spec: ImageSpec, limits: ImageLimits) -> Image.Image:
    """Image file -> upright 8-bit RGB image, fully decoded, without metadata.

    Raises UnsupportedImage, UndecodableImage, TooLarge.
    """
    check = partial(_check_header, spec, limits, None)
    return decode(payload, limits, partial(to_rgb, alpha=spec.alpha), check)


def preprocess(
    image: Image.Image, spec: ImageSpec, limits: ImageLimits, *, sharing: Sharing = ALONE
) -> NDArray[np.uint8]:
    """Upright RGB image -> (S, S, 3) uint8: resize, then crop or letterbox. Raises TooLarge.

    `sharing` may do parts of the work in parallel, with the same result.
    Pixel-equal to torchvision on PIL images (`crop: round`) and to CLIPImageProcessorPil (`crop: floor`).
    """
    if image.mode != "RGB":
        raise InvalidValue(f"preprocess takes RGB images, not {image.mode}")
    _check_resized(spec, limits, *image.size)
    placement = place(*image.size, spec)
    return resize(image, placement, spec, sharing)


def thumbnail(payload: bytes, limits: ImageLimits, size_px: int, on_header: OnHeader | None = None) -> bytes:
    """Image file -> WebP without metadata, longest edge at most `size_px`, transparency over white.

    Never enlarged. Raises UnsupportedImage, UndecodableImage, TooLarge.
    """
    if not 1 <= size_px <= 4096:
        raise InvalidValue(f"thumbnail size is {size_px} pixels, must be between 1 and 4096")
    image = decode(payload, limits, partial(to_rgb, alpha="white"), on_header)
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=THUMBNAIL_QUALITY)
    return encoded.getvalue()


def _prepare_scaled(decoded: Decoded, spec: ImageSpec) -> NDArray[np.uint8]:
    """Preprocess a picture decoded at a reduced size; only the part that the crop keeps is resized."""
    placement = place(decoded.width, decoded.height, spec)
    left, width = kept(placement.left, placement.width, spec.size)
    top, height = kept(placement.top, placement.height, spec.size)
    x, y = decoded.image.width / placement.width, decoded.image.height / placement.height
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    resized = decoded.image.resize((width, height), Image.Resampling[spec.interpolation.upper()], box=box)
    placed = replace(placement, left=max(placement.left, 0), top=max(placement.top, 0))
    return on_canvas(resized, placed, spec)


def _check_header(spec: ImageSpec, limits: ImageLimits, then: OnHeader | None, info: ImageInfo) -> None:
    _check_resized(spec, limits, info.width, info.height)
    if then is not None:
        then(info)


def _check_resized(spec: ImageSpec, limits: ImageLimits, width: int, height: int) -> None:
    limits.check_px(*resized_size(width, height, spec), f"a {width} x {height} image, once resized,")
