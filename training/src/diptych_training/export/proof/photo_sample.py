"""The photographs and texts that imported models are proven on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.export.proof.parity import ParitySample
from diptych_training.export.proof.photos import Photos, photographs
from diptych_training.export.proof.pixel_file import PixelFile
from diptych_training.export.proof.texts import ordinary_texts, right_texts

N_PROOF_IMAGES = 1000


PIXELS_FILE = "proof-pixels.npy"  # in the staged folder; removed before it is published


PROOF_SEED, CALIBRATION_SEED, GOLDEN_SEED = 0, 1, 2


BATCH_SIZE = 16


LIMITS = ImageLimits()


def sample_of_photographs(
    folder: Path, tokenizer: TextTokenizer, n_images: int, image_spec: ImageSpec
) -> ParitySample:
    """The same photographs and ordinary texts, without a library; pixels go to a file in `folder`."""
    photos, texts = Photos(photographs(), PROOF_SEED), list(ordinary_texts())
    pixels = PixelFile(folder / PIXELS_FILE, n_images, image_spec.size)
    for start in range(0, n_images, BATCH_SIZE):
        images = [photos[index] for index in range(start, min(start + BATCH_SIZE, n_images))]
        pixels.write(start, prepare(images, image_spec))
    return ParitySample(
        pixels=pixels,
        input_ids=[tokenizer.ids(text)[0] for text in texts],
        relevant=right_texts(photos, n_images, texts),
    )


def prepare(images: Sequence[Image.Image], spec: ImageSpec) -> Pixels:
    """N images of any size -> (N, S, S, 3) uint8, prepared as `spec` says."""
    return np.stack([preprocess(image, spec, LIMITS) for image in images])
