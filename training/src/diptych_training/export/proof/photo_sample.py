"""The photographs and texts on which imported models are proven, and a file for their pixels."""

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
from diptych_training.export.proof.photos import PhotoVariants, photographs
from diptych_training.export.proof.texts import ordinary_texts, relevance_of_texts

N_PROOF_IMAGES = 1000
PIXELS_FILE = "proof-pixels.npy"  # in the staged folder; removed before it is published
PROOF_SEED, CALIBRATION_SEED, GOLDEN_SEED, PROOF_SET_SEED, REHEARSAL_SEED = range(5)
BATCH_SIZE = 16
LIMITS = ImageLimits()


class PixelFile:
    """(N, S, S, 3) uint8 in a file, read batch by batch: a thousand images of 384 pixels are 440 MB.

    The file is mapped again for each read, so that pages of used rows do not count as this process's memory.
    Implements `parity.PixelRows`.
    """

    def __init__(self, path: Path, n_images: int, size: int) -> None:
        """Create the file, all zeros; `write` fills rows. Raises OSError if the disk is full."""
        shape = (n_images, size, size, 3)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(path)
        self._path, self._n_images = path, n_images

    def write(self, start: int, pixels: Pixels) -> None:
        """Write B preprocessed images to rows `start` to `start + B`."""
        np.load(self._path, mmap_mode="r+", allow_pickle=False)[start : start + len(pixels)] = pixels

    def __len__(self) -> int:
        return self._n_images

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Pixels:
        """A copy of the requested rows."""
        return np.array(np.load(self._path, mmap_mode="r", allow_pickle=False)[rows])

    def remove(self) -> None:
        """Delete the file, which is not published."""
        self._path.unlink()


def _reserve(path: Path) -> None:
    """Allocate the disk space now: writing to a memory map on a full disk kills the process."""
    if hasattr(os, "posix_fallocate"):  # Linux
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def sample_of_photographs(
    folder: Path, tokenizer: TextTokenizer, n_images: int, image_spec: ImageSpec
) -> ParitySample:
    """The proof's photographs and ordinary texts, without a library; pixels go to a file in `folder`."""
    photos, texts = PhotoVariants(photographs(), PROOF_SEED), list(ordinary_texts())
    pixels = PixelFile(folder / PIXELS_FILE, n_images, image_spec.size)
    for start in range(0, n_images, BATCH_SIZE):
        images = [photos[index] for index in range(start, min(start + BATCH_SIZE, n_images))]
        pixels.write(start, prepare(images, image_spec))
    return ParitySample(
        pixels=pixels,
        input_ids=[tokenizer.ids(text)[0] for text in texts],
        relevant=relevance_of_texts(photos, n_images, texts),
    )


def prepare(images: Sequence[Image.Image], spec: ImageSpec) -> Pixels:
    """N images of any size -> (N, S, S, 3) uint8, preprocessed according to `spec`."""
    return np.stack([preprocess(image, spec, LIMITS) for image in images])
