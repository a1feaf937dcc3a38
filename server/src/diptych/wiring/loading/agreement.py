"""Require the golden outputs of a bundle in batches of many shapes, since a runtime has kernels for each."""

import numpy as np

from diptych.bundle.encoder import Embeddings, StoppableEncoder
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.errors import GoldenMismatch
from diptych.wiring.loading.bundles import VerifiedBundle
from diptych.wiring.loading.golden_batches import B, ShapedBatch, image_batches, text_batches

FirstRows = dict[int, Embeddings]  # the first embedding of each item, by item number


def require_golden_in_every_shape(
    bundle: VerifiedBundle, precision: str, encoder: StoppableEncoder, largest: int
) -> None:
    """Raise GoldenMismatch that names item, shape, cosine and bound, unless the embeddings are right.

    Each golden item must be as near to its golden output as the precision may be to the model, and the
    embeddings of one item must be equal in all shapes, up to batches of `largest`. Raises EncoderFailed.
    """
    golden, bound = bundle.golden, COSINE_BOUNDS[precision]
    image_rows, text_rows = FirstRows(), FirstRows()
    for images in image_batches(bundle, largest):
        _require(images, encoder.encode_image(images.batch), golden.image_embedding, bound, image_rows)
    for texts in text_batches(bundle, largest):
        _require(texts, encoder.encode_text(texts.batch), golden.text_embedding, bound, text_rows)


def _require(
    shaped: ShapedBatch[B], found: Embeddings, golden: Embeddings, bound: float, first_rows: FirstRows
) -> None:
    for item, row in zip(shaped.items, found, strict=True):
        where = f"{shaped.name}, item {item}"
        if item < len(golden):
            _require_cosine(where, "its golden output", _cosine(row, golden[item]), bound)
        first = first_rows.setdefault(item, row)
        _require_cosine(where, "the same item in another shape", _cosine(row, first), MIN_BATCH_COSINE)


def _cosine(one: Embeddings, other: Embeddings) -> float:
    product = np.dot(one.astype(np.float64), other)
    return float(product / (np.linalg.norm(one) * np.linalg.norm(other)))


def _require_cosine(where: str, other: str, cosine: float, bound: float) -> None:
    if not cosine >= bound:  # written so that NaN fails
        raise GoldenMismatch(f"{where}: cosine to {other} is {cosine:.6f}, bound is {bound}")
