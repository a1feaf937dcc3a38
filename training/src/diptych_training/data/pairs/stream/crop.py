"""Random crops of photographs: a part of the image instead of what the preparation keeps.

`square` is CLIP's augmentation (Radford et al. 2021, 2.3: "a random square crop from resized images"): all
of the shorter side, at a random place of the longer one. `resized` is open_clip's (Szegedy et al. 2015): a
random share of the area with a random ratio of its sides, brought to a square.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, open_rgb
from diptych.bundle.manifest import ImageSpec

RATIO = (3 / 4, 4 / 3)  # of width to height, in a resized crop
N_TRIES = 10  # shapes that are drawn until one fits into the image

Box = tuple[int, int, int, int]  # left, upper, right, lower


@dataclass(frozen=True)
class Crop:
    """How to crop. `scale` is the least and the largest share of the area of a resized crop."""

    kind: Literal["square", "resized"]
    scale: tuple[float, float]

    def box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        """A random part of an image."""
        if self.kind == "resized":
            for _ in range(N_TRIES):
                area = width * height * rng.uniform(*self.scale)
                ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
                w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
                if 0 < w <= width and 0 < h <= height:
                    return _placed(w, h, width, height, rng)
        side = min(width, height)
        return _placed(side, side, width, height, rng)


def _placed(w: int, h: int, width: int, height: int, rng: np.random.Generator) -> Box:
    left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return left, upper, left + w, upper + h


def load_crop(payload: bytes, spec: ImageSpec, limits: ImageLimits, crop: Crop, seed: int) -> Pixels:
    """Image file -> (S, S, 3) uint8 RGB of a random part of it, the same for the same seed.

    Raises UnsupportedImage, UndecodableImage, TooLarge.
    """
    image = open_rgb(payload, spec, limits)
    box = crop.box(*image.size, np.random.default_rng(seed))
    filter = Image.Resampling[spec.interpolation.upper()]
    return np.asarray(image.resize((spec.size, spec.size), filter, box=box))
