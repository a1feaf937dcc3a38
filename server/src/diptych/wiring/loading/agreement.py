"""Hold an encoder against the one that serves, in every shape that it will run in. Knows no devices."""

import numpy as np

from diptych.bundle.encoder import Embeddings, StoppableEncoder
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.golden_batches import B, Shaped, image_batches, text_batches

Seen = dict[int, Embeddings]  # the first row of each item


def require_agreement(loaded: LoadedBundle, candidate: StoppableEncoder) -> None:
    """Raises GoldenMismatch, naming item, shape, cosine and bound; EncoderFailed.

    The candidate's rows are as near to those of `loaded` as its precision may be to the model, whatever the
    shape, and those of one item the same in all shapes. That runs each shape once, too.
    """
    bound = COSINE_BOUNDS[loaded.precision]
    seen_images, seen_texts = Seen(), Seen()
    for images in image_batches(loaded):
        expected, found = loaded.encoder.encode_image(images.batch), candidate.encode_image(images.batch)
        _require_same(images, expected, found, bound, seen_images)
    for texts in text_batches(loaded):
        expected, found = loaded.encoder.encode_text(texts.batch), candidate.encode_text(texts.batch)
        _require_same(texts, expected, found, bound, seen_texts)


def _require_same(
    shaped: Shaped[B], expected: Embeddings, found: Embeddings, bound: float, seen: Seen
) -> None:
    for item, wanted, row in zip(shaped.items, expected, found, strict=True):
        named = f"{shaped.name}, item {item}"
        _require(named, "the one that serves", _cosine(row, wanted), bound)
        _require(named, "itself in another shape", _cosine(row, seen.setdefault(item, row)), MIN_BATCH_COSINE)


def _cosine(one: Embeddings, other: Embeddings) -> float:
    product = np.dot(one.astype(np.float64), other)
    return float(product / (np.linalg.norm(one) * np.linalg.norm(other)))


def _require(named: str, whom: str, cosine: float, bound: float) -> None:
    if not cosine >= bound:  # written so that NaN fails
        raise GoldenMismatch(f"{named}: cosine to {whom} is {cosine:.6f}, bound is {bound}")
