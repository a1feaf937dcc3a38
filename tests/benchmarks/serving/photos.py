"""Distinct 640 x 480 JPEG photographs, made from those that two packages ship; the same every time."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.load import read_bodies, write_bodies
from benchmarks.serving.places import in_cache
from diptych_training.importing.photos import photographs

N_PHOTOS = 512
QUALITY = 90
SIZE = (640, 480)
MIN_SHARE = 0.6  # of the largest part with this shape: cut smaller, they would turn soft and cheap to decode


def photo_file(size: tuple[int, int] = SIZE, n_photos: int = N_PHOTOS) -> Path:
    """All of one size in one file, in the form of `load.write_bodies`; made when it is missing."""
    file = in_cache("photos", f"{size[0]}x{size[1]}-{n_photos}-q{QUALITY}.bin")
    if not file.exists():
        write_bodies(file, list(_made(size, n_photos)))
    return file


def photos(size: tuple[int, int] = SIZE, n_photos: int = N_PHOTOS) -> list[bytes]:
    """The files themselves."""
    return read_bodies(photo_file(size, n_photos))


def _made(size: tuple[int, int], n_photos: int) -> Iterator[bytes]:
    opened = [_open(photograph.path) for photograph in photographs()]
    for number in range(n_photos):
        rng = np.random.default_rng((20, number))
        yield _jpeg(_cut(rng, opened[number % len(opened)], size))


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _cut(rng: np.random.Generator, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A part of that shape, scaled to that size, half of them mirrored."""
    aspect = size[0] / size[1]
    width = rng.uniform(MIN_SHARE, 1) * min(image.width, image.height * aspect)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - width / aspect)
    box = (left, top, left + width, top + width / aspect)
    part = image.resize(size, Image.Resampling.BICUBIC, box=box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _jpeg(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()
