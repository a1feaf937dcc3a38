"""The pictures of a proof set as WebP files: drawings without loss, photographs in about 10 kB."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.decode import decode
from diptych.bundle.image.formats import sniff
from diptych.bundle.image.preprocess import ImageLimits
from diptych.errors import InputError
from diptych_training.errors import DataError

MAX_MEAN_BYTES = 10_000  # so that a thousand pictures take about 10 MB
QUALITIES = (90, 80, 70, 60, 50, 40, 30)
N_TRIED = 8  # pictures that the quality is chosen on


def encode_lossless(images: Pixels) -> tuple[bytes, ...]:
    """(N, S, S, 3) uint8 -> N WebP files that keep every pixel."""
    return tuple(_encoded(image, None) for image in images)


def encode_photographs(images: Pixels) -> tuple[bytes, ...]:
    """(N, S, S, 3) uint8 -> N WebP files of the best quality that keeps them at 10 kB in the mean."""
    quality = _quality(images)
    return tuple(_encoded(image, quality) for image in images)


def decode_picture(picture: bytes, stored_size: int, size: int) -> NDArray[np.uint8]:
    """A WebP file of `stored_size` squared pixels -> (size, size, 3) uint8 RGB.

    Raises DataError if it is another format or size, or damaged.
    """
    if sniff(picture) != "WEBP":
        raise DataError("a picture of the proof set is not a WebP file")
    limits = ImageLimits(max_bytes=len(picture), max_px=stored_size**2)
    try:
        image = decode(picture, limits, lambda decoded: decoded.convert("RGB"))
    except InputError as error:
        raise DataError(f"a picture of the proof set cannot be decoded: {error}") from error
    if image.size != (stored_size, stored_size):
        width, height = image.size
        raise DataError(
            f"a picture of the proof set has {width} x {height} pixels, "
            f"it must have {stored_size} x {stored_size}"
        )
    if size != stored_size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _quality(images: Pixels) -> int:
    tried = images[:: -(-len(images) // N_TRIED)]
    for quality in QUALITIES:
        if sum(len(_encoded(image, quality)) for image in tried) <= MAX_MEAN_BYTES * len(tried):
            return quality
    return QUALITIES[-1]


def _encoded(image: NDArray[np.uint8], quality: int | None) -> bytes:
    """A WebP file, lossless without a quality."""
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if quality is None:
        picture.save(file, "WEBP", lossless=True, quality=100, method=4)
    else:
        picture.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()
