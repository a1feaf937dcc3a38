"""Pictures to encode, from what the repository has: nothing is fetched. Knows no model."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.places import REPOSITORY

GALLERY = REPOSITORY / "server" / "gallery"
SEED = 0


def picture_files(n_pictures: int) -> list[Path]:
    """Of the gallery, always the same."""
    return sorted(GALLERY.glob("*.png"))[:n_pictures]


def photographs(n_pictures: int) -> list[bytes]:
    """JPEGs of 640 x 480 whose content is as hard to decode as a photograph's: a picture under grain."""
    rng, files = np.random.default_rng(SEED), picture_files(64)
    made = []
    for number in range(n_pictures):
        with Image.open(files[number % len(files)]) as picture:
            large = np.asarray(picture.convert("RGB").resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        grain = rng.normal(0, 6, large.shape).astype(np.int16)
        encoded = io.BytesIO()
        Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
        made.append(encoded.getvalue())
    return made
