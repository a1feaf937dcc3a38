"""Embedding of many images or texts, batch by batch."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Embeddings, ImageEncoder, Pixels, TextEncoder
from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.text.tokenizer import TextTokenizer

Advance = Callable[[int], object]  # called with the number of items done, e.g. a progress bar's `update`


def _ignore(_: int) -> None:
    """The default callback: no progress report."""


def embed_images(
    encoder: ImageEncoder,
    images: Pixels,
    spec: ImageSpec,
    *,
    batch_size: int = 128,
    advance: Advance = _ignore,
) -> Embeddings:
    """(N, H, W, 3) uint8 RGB of any one size -> (N, D) float32 of unit norm."""
    rows = []
    for start in range(0, len(images), batch_size):
        pixels = fit_pixels(images[start : start + batch_size], spec)  # (B, S, S, 3)
        rows.append(encoder.encode_image(pixels))
        advance(len(pixels))
    return np.concatenate(rows)


def fit_pixels(images: Pixels, spec: ImageSpec) -> Pixels:
    """(B, H, W, 3) -> (B, S, S, 3), prepared as the server does; a view without a copy if H = W = S."""
    if images.shape[1:3] == (spec.size, spec.size):
        return np.asarray(images)
    limits = ImageLimits()
    return np.stack([preprocess(Image.fromarray(np.asarray(image)), spec, limits) for image in images])


def embed_texts(
    encoder: TextEncoder, tokenizer: TextTokenizer, texts: Sequence[str], *, batch_size: int = 256
) -> Embeddings:
    """N texts -> (N, D) float32 of unit norm; each batch is padded as the tokenizer's spec says."""
    return np.concatenate(
        [encoder.encode_text(tokenizer(batch).input_ids) for batch in _batches(texts, batch_size)]
    )


def _batches(texts: Sequence[str], batch_size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), batch_size):
        yield texts[start : start + batch_size]
