"""Compare a candidate encoder with the serving one, in every batch shape that it will run in."""

import numpy as np

from diptych.bundle.encoder import Embeddings, StoppableEncoder
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.bundles import LoadedBundle
from diptych.wiring.loading.golden_batches import B, ShapedBatch, image_batches, text_batches

FirstRows = dict[int, Embeddings]  # the first embedding of each item, by item number


def require_agreement(loaded: LoadedBundle, candidate: StoppableEncoder) -> None:
    """Raise GoldenMismatch that names item, shape, cosine and bound, unless both encoders agree.

    Each embedding of the candidate must be as near to that of `loaded` as the precision may be to the model,
    and the embeddings of one item must be equal in all shapes. This also runs each shape once. Raises
    EncoderFailed.
    """
    bound = COSINE_BOUNDS[loaded.precision]
    image_rows, text_rows = FirstRows(), FirstRows()
    for images in image_batches(loaded):
        expected, found = loaded.encoder.encode_image(images.batch), candidate.encode_image(images.batch)
        _require_equal(images, expected, found, bound, image_rows)
    for texts in text_batches(loaded):
        expected, found = loaded.encoder.encode_text(texts.batch), candidate.encode_text(texts.batch)
        _require_equal(texts, expected, found, bound, text_rows)


def _require_equal(
    shaped: ShapedBatch[B], expected: Embeddings, found: Embeddings, bound: float, first_rows: FirstRows
) -> None:
    for item, reference, row in zip(shaped.items, expected, found, strict=True):
        where = f"{shaped.name}, item {item}"
        first = first_rows.setdefault(item, row)
        _require_cosine(where, "the encoder that serves", _cosine(row, reference), bound)
        _require_cosine(where, "the same item in another shape", _cosine(row, first), MIN_BATCH_COSINE)


def _cosine(one: Embeddings, other: Embeddings) -> float:
    product = np.dot(one.astype(np.float64), other)
    return float(product / (np.linalg.norm(one) * np.linalg.norm(other)))


def _require_cosine(where: str, other: str, cosine: float, bound: float) -> None:
    if not cosine >= bound:  # written so that NaN fails
        raise GoldenMismatch(f"{where}: cosine to {other} is {cosine:.6f}, bound is {bound}")
