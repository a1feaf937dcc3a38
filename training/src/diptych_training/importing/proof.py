"""Reference embeddings for an import's proof, computed by the original library on real images and texts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from diptych.bundle.encoder import Embeddings
from diptych.bundle.golden import Golden
from diptych.bundle.manifest import TOKENIZER_FILE, ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.proof.calibration import N_CALIBRATION_IMAGES, Calibration, make_calibration
from diptych_training.export.proof.golden_items import make_golden
from diptych_training.export.proof.parity import ParitySample, SampleEmbeddings
from diptych_training.export.proof.photo_sample import (
    BATCH_SIZE,
    CALIBRATION_SEED,
    GOLDEN_SEED,
    PIXELS_FILE,
    PROOF_SEED,
    PixelFile,
    prepare,
)
from diptych_training.export.proof.photos import PhotoVariants, photographs
from diptych_training.export.proof.prove import Proof
from diptych_training.export.proof.texts import calibration_texts, ordinary_texts, relevance_of_texts
from diptych_training.importing.common.imported_model import ImportedModel, LibraryEncoder
from diptych_training.importing.text_differences import TextDifferences

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
    photos = PhotoVariants(photographs(), PROOF_SEED)
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
    """Calibration inputs: other variants of the photographs than the proof's, and other texts."""
    photos = PhotoVariants(photographs(), CALIBRATION_SEED)
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
    free = [photograph for photograph in photographs() if photograph.free]
    photos = PhotoVariants(free, GOLDEN_SEED, max_side_px=GOLDEN_SIDE_PX)
    images = [photos[index] for index in range(N_GOLDEN_IMAGES)]
    captions = [free[photos.photograph_of(index)].captions[0] for index in range(N_GOLDEN_IMAGES)]
    encoder = TorchEncoder(imported.model, imported.image)
    return make_golden(images, captions, encoder, tokenizer, imported.image)
