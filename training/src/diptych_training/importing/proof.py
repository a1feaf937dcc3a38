"""Reference embeddings for an import's proof, computed by the original library on real images and texts.

Pixels go to a file, which is read batch by batch.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Embeddings, Pixels
from diptych.bundle.golden import Golden
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.evaluate.proof_set.photos import (
    CALIBRATION_SEED,
    GOLDEN_SEED,
    PROOF_SEED,
    PhotoVariants,
    calibration_texts,
    ordinary_texts,
    photographs,
    prepare,
    relevance_of_texts,
    shared_photographs,
)
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.proof.calibration import N_CALIBRATION_IMAGES, Calibration, make_calibration
from diptych_training.export.proof.golden_items import make_golden
from diptych_training.export.proof.parity import ParitySample, SampleEmbeddings
from diptych_training.export.proof.prove import Proof
from diptych_training.importing.common.imported_model import ImportedModel, LibraryEncoder
from diptych_training.importing.text_differences import TextDifferences

N_PROOF_IMAGES = 1000
PIXELS_FILE = "proof-pixels.npy"  # in the staged folder; removed before it is published
BATCH_SIZE = 16


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
    photos, texts = PhotoVariants(photographs("proof"), PROOF_SEED), list(ordinary_texts())
    pixels = PixelFile(folder / PIXELS_FILE, n_images, image_spec.size)
    for start in range(0, n_images, BATCH_SIZE):
        images = [photos[index] for index in range(start, min(start + BATCH_SIZE, n_images))]
        pixels.write(start, prepare(images, image_spec))
    return ParitySample(
        pixels=pixels,
        input_ids=[tokenizer.ids(text)[0] for text in texts],
        relevant=relevance_of_texts(photos, n_images, texts),
    )


N_GOLDEN_IMAGES, GOLDEN_SIDE_PX = 18, 200

Advance = Callable[[int], object]


def proof_by_library(
    imported: ImportedModel, folder: Path, n_images: int, differences: TextDifferences, advance: Advance
) -> Proof:
    """Embed `n_images` photographs and all texts with equal token ids, using the library.

    The library gets upright RGB images and strings, so that the proof covers resize, crop, cleaning and
    tokenising. Preprocessed pixels go to a file in `folder`, which must already hold the tokenizer.
    """
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, imported.text)
    texts = [*ordinary_texts(), *differences.equal]
    photos = PhotoVariants(photographs("proof"), PROOF_SEED)
    pixels = PixelFile(folder / PIXELS_FILE, n_images, imported.image.size)
    images = _embed_images(imported, photos, pixels, advance)
    return Proof(
        embedded=SampleEmbeddings(images, _embed_texts(imported.library, texts)),
        sample=ParitySample(
            pixels=pixels,
            input_ids=[tokenizer.ids(text)[0] for text in texts],
            relevant=relevance_of_texts(photos, n_images, texts),
        ),
        text_spec=imported.text,
        golden=_golden(imported, tokenizer),
        n_texts_left_out=len(differences.differing),
    )


def calibration_on_photographs(folder: Path, image_spec: ImageSpec, text_spec: TextSpec) -> Calibration:
    """Calibration inputs: other photographs than the proof's, and other texts."""
    photos = PhotoVariants(photographs("rehearsal"), CALIBRATION_SEED)
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, text_spec)
    pixels = prepare([photos[index] for index in range(N_CALIBRATION_IMAGES)], image_spec)
    rows = [tokenizer.ids(text)[0] for text in calibration_texts()]
    return make_calibration(pixels, rows, text_spec)


def _embed_images(
    imported: ImportedModel, photos: PhotoVariants, pixels: PixelFile, advance: Advance
) -> Embeddings:
    """(N, D) embeddings of the library; each image is made once, written to `pixels`, and freed."""
    rows = []
    for start in range(0, len(pixels), BATCH_SIZE):
        images = [photos[index] for index in range(start, min(start + BATCH_SIZE, len(pixels)))]
        pixels.write(start, prepare(images, imported.image))
        rows.append(imported.library.encode_images(images))
        advance(len(images))
    return np.concatenate(rows)


def _embed_texts(library: LibraryEncoder, texts: Sequence[str]) -> Embeddings:
    starts = range(0, len(texts), BATCH_SIZE)
    return np.concatenate([library.encode_texts(texts[start : start + BATCH_SIZE]) for start in starts])


def _golden(imported: ImportedModel, tokenizer: TextTokenizer) -> Golden:
    """Golden items from freely licensed photographs, embedded by the torch model that was exported.

    Not by the library: a server must also reproduce awkward texts, whose ids may differ from the library's.
    """
    free = shared_photographs()
    photos = PhotoVariants(free, GOLDEN_SEED, max_side_px=GOLDEN_SIDE_PX)
    images = [photos[index] for index in range(N_GOLDEN_IMAGES)]
    captions = [photos.captions_of(index)[0] for index in range(N_GOLDEN_IMAGES)]
    encoder = TorchEncoder(imported.model, imported.image)
    return make_golden(images, captions, encoder, tokenizer, imported.image)
