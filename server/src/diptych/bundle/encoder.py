"""What every encoder can do, whatever runs it; knows nothing of files, ONNX or torch."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (B, S, S, 3) RGB
InputIds = NDArray[np.int32]  # (B, L)
Embeddings = NDArray[np.float32]  # (B, D), unit norm

Stop = Callable[[], None]  # ends a call early, if it still runs; may come from any thread
OnStart = Callable[[Stop], None]  # is told how to stop a call, as that begins


class ByTower(NamedTuple):
    """What is said of each tower; empty where there is nothing to say."""

    image: str = ""
    text: str = ""


class ImageEncoder(Protocol):
    """Turns prepared pixels into embeddings."""

    def encode_image(self, pixels: Pixels) -> Embeddings:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        ...


class TextEncoder(Protocol):
    """Turns token ids into embeddings."""

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        """(B, L) int32, padded with pad_id -> (B, D) float32 of unit norm. Raises EncoderFailed."""
        ...


class Encoder(ImageEncoder, TextEncoder, Protocol):
    """Both towers of one model: their embeddings share one space."""


class StoppableEncoder(Protocol):
    """An encoder whose calls can be stopped; one that was raises EncoderFailed."""

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        """As Encoder.encode_image."""
        ...

    def encode_text(self, input_ids: InputIds, on_start: OnStart | None = None) -> Embeddings:
        """As Encoder.encode_text."""
        ...
