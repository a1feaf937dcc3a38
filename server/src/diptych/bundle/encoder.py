"""The Encoder protocol, which every runtime satisfies, and the check of what an encoder returns."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.errors import EncoderFailed

Pixels = NDArray[np.uint8]  # (B, S, S, 3) RGB
InputIds = NDArray[np.int32]  # (B, L)
Embeddings = NDArray[np.float32]  # (B, D), unit norm

Stop = Callable[[], None]  # ends a call early, if it still runs; callable from any thread
OnStart = Callable[[Stop], None]  # called when a call begins, with the function that stops it

# The graph normalises its rows, in float16 at worst: a row whose norm is further from 1 is no embedding.
MAX_NORM_ERROR = 1e-2


class ImageEncoder(Protocol):
    """Encodes prepared pixels as embeddings."""

    def encode_image(self, pixels: Pixels) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        ...


class TextEncoder(Protocol):
    """Encodes token ids as embeddings."""

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        """(B, L) int32, padded with pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        ...


class Encoder(ImageEncoder, TextEncoder, Protocol):
    """Both towers of one model, whose embeddings share one space."""


class StoppableEncoder(Protocol):
    """An encoder whose calls can be stopped; a stopped call raises EncoderFailed."""

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """As Encoder.encode_image."""
        ...

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """As Encoder.encode_text."""
        ...


def require_embeddings(rows: Embeddings, n_items: int, name: str) -> Embeddings:
    """Return the same (B, D) rows; `name` is their name in the graph.

    Raises EncoderFailed if they are no embeddings.
    """
    if rows.ndim != 2 or len(rows) != n_items:
        raise EncoderFailed(f"the encoder returned shape {rows.shape} for a batch of {n_items}")
    norms = np.linalg.norm(rows, axis=1)  # (B,)
    if not np.all(np.abs(norms - 1.0) <= MAX_NORM_ERROR):  # false for NaN as well
        raise EncoderFailed(f"{name} has rows that are not finite or not of unit norm")
    return rows
