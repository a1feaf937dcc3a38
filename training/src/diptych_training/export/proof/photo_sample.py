"""The photographs and texts that imported models are proven on."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.export.proof.parity import ParitySample
from diptych_training.export.proof.photos import Photos, photographs
from diptych_training.export.proof.texts import ordinary_texts, right_texts

N_PROOF_IMAGES = 1000
PIXELS_FILE = "proof-pixels.npy"  # in the staged folder; removed before it is published
PROOF_SEED, CALIBRATION_SEED, GOLDEN_SEED = 0, 1, 2
BATCH_SIZE = 16
LIMITS = ImageLimits()


class PixelFile:
    """(N, S, S, 3) uint8. A thousand images of 384 pixels are 440 MB: they are read batch by batch.

    The file is mapped anew for each read, so that pages of rows that were used do not count as memory of
    this process. Satisfies `parity.PixelRows`.
    """

    def __init__(self, path: Path, n_images: int, size: int) -> None:
        """Create the file, all zeros; rows are filled with `write`. Raises OSError if it has no room."""
        shape = (n_images, size, size, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(path)
        self._path, self._n_images = path, n_images

    def write(self, start: int, pixels: Pixels) -> None:
        """Put B prepared images at rows `start` to `start + B`."""
        np.load(self._path, mmap_mode="r+", allow_pickle=False)[start : start + len(pixels)] = pixels

    def __len__(self) -> int:
        return self._n_images

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Pixels:
        """A copy of the asked rows."""
        return np.array(np.load(self._path, mmap_mode="r", allow_pickle=False)[rows])

    def remove(self) -> None:
        """Delete the file: it is no part of what is published."""
        self._path.unlink()


def _reserve(path: Path) -> None:
    """Take the whole room now: a full disk kills a process that writes through a map."""
    if hasattr(os, "posix_fallocate"):  # Linux
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


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
